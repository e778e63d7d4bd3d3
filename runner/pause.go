package runner

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/job"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A job that can't process what it has may pause (--summerbeam_on_poison=pause). Its record says
// so, and no server takes it up by itself. It goes on when somebody resumes it, or starts its
// program under the same job name: the same pipeline, whose DoFns were corrected, or one of
// another shape that takes it over.

const optionOnPoison = "summerbeam_on_poison"

// pauseRecord says why a job pauses, since when, and what it can't process.
type pauseRecord struct {
	Stage     string
	Transform string `json:",omitempty"`
	Element   string `json:",omitempty"`
	Error     string
	At        time.Time
}

// text tells people.
func (p *pauseRecord) text(name string) string {
	what := "stage " + p.Stage
	if p.Transform != "" {
		what = fmt.Sprintf("transform %s (stage %s)", p.Transform, p.Stage)
	}
	with := "with what it has"
	if p.Element != "" {
		with = "with the element " + p.Element
	}
	return fmt.Sprintf("the job is paused: %s fails %s, since %s. Its state is kept. To go on: correct the program and start it again with "+
		"--job_name=%s (and --%s=true if its pipeline has another shape), or try again as it is: summerbeam resume %s\n%s",
		what, with, p.At.Format(time.RFC3339), name, optionUpdate, name, p.Error)
}

// pause writes down that the execution has paused, and returns what its Run returns.
func (e *execution) pause(why *engine.PausedError) error {
	e.home.record.Paused = &pauseRecord{
		Stage: why.Stage, Transform: why.Transform, Element: why.Element, Error: why.Err.Error(), At: time.Now().UTC().Truncate(time.Second),
	}
	if err := e.home.write(); err != nil {
		// A server that finds no word of it goes on with the job, which pauses again.
		e.info.Log.Error("that the job is paused is not written down", "error", err)
	}
	e.jobs.homes.pause(e.home.dir, pausedHome{id: e.info.ID, name: e.info.Name})
	return fmt.Errorf("%w: %s", job.ErrPaused, strings.TrimPrefix(e.home.record.Paused.text(e.info.Name), job.ErrPaused.Error()+": "))
}

// pausedHome is the job that is paused in a home.
type pausedHome struct{ id, name string }

// pause notes that the job of a home pauses.
func (h *homes) pause(dir string, p pausedHome) {
	h.homesMu.Lock()
	defer h.homesMu.Unlock()
	if h.paused == nil {
		h.paused = make(map[string]pausedHome)
	}
	h.paused[dir] = p
}

// resumed notes that a job has moved in. It returns the id of the one that had paused there,
// if one had.
func (h *homes) resumed(in *home) (id string, ok bool) {
	h.homesMu.Lock()
	defer h.homesMu.Unlock()
	p, ok := h.paused[in.dir]
	delete(h.paused, in.dir)
	return p.id, ok
}

func (h *homes) allPaused() []pausedHome {
	h.homesMu.Lock()
	defer h.homesMu.Unlock()
	return slices.SortedFunc(maps.Values(h.paused), func(a, b pausedHome) int { return cmp.Compare(a.id, b.id) })
}

// Resume lets a paused job go on, of which the id or the name is given. Its workers must be
// there, or such as the server can start.
func (s *Server) Resume(ctx context.Context, job string) error {
	id, p, err := s.job.Paused(job)
	if err != nil {
		return err
	}
	if err := reachable(ctx, p); err != nil {
		return status.Error(codes.FailedPrecondition, fmt.Sprintf("job %s can't go on: %v", job, err))
	}
	return s.job.GoOn(id)
}

// States of jobs that Beam's Job API has no word for.
const (
	// StatePaused: it has ended its run, keeps its state and waits to be resumed or corrected.
	StatePaused = "PAUSED"
	// StateDiskFull: it runs, and waits for room on its disk.
	StateDiskFull = "DISK_FULL"
)

// States returns the states that the Job API has no word for, by job id.
func (s *Server) States() map[string]string {
	states := make(map[string]string)
	for _, e := range s.jobs.live.all() {
		if e.Progress().DiskFull {
			states[e.info.ID] = StateDiskFull
		}
	}
	for _, id := range s.job.AllPaused() {
		states[id] = StatePaused
	}
	return states
}

// reachable says why workers of a pipeline can't be had now, or nil.
func reachable(ctx context.Context, p *pipepb.Pipeline) error {
	for _, e := range p.GetComponents().GetEnvironments() {
		if err := foreign(e); err != nil {
			return err
		}
		var payload pipepb.ExternalPayload
		if e.GetUrn() != urnExternal || proto.Unmarshal(e.GetPayload(), &payload) != nil {
			continue
		}
		dial := net.Dialer{Timeout: time.Second}
		c, err := dial.DialContext(ctx, "tcp", payload.GetEndpoint().GetUrl())
		if err != nil {
			return fmt.Errorf("its workers' pool is not there (%w); if that is the program that submitted it (LOOPBACK), start it again, with the same job name", err)
		}
		_ = c.Close() // it was there
	}
	return nil
}
