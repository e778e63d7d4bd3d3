package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// A server goes on with the jobs in its data directory by itself, where it can start
// their workers: from a pool (EXTERNAL) or as processes (PROCESS). The worker of a
// LOOPBACK job is the program that submitted it, so such a job waits until that program
// is started again.

// tenant is a job that an earlier process has left.
type tenant struct {
	id  string
	dir string
	// failed is why it failed; empty if it was running.
	failed string
	// paused is why it pauses; nil if it doesn't.
	paused *pauseRecord
	req    *jobpb.PrepareJobRequest
}

// tenants reads what is in the data directory. A home that can't be read is reported and
// left alone: the others go on.
func (j *jobs) tenants() []tenant {
	var all []tenant
	if j.temp {
		return nil
	}
	dirs, err := os.ReadDir(filepath.Join(j.dir, "jobs"))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			j.cfg.Log.Error("jobs of an earlier process are not found", "error", err)
		}
		return nil
	}
	for _, d := range dirs {
		h := home{dir: filepath.Join(j.dir, "jobs", d.Name())}
		t, err := h.tenant()
		switch {
		case errors.Is(err, fs.ErrNotExist): // not a home, or one that nobody has moved into
		case err != nil:
			j.cfg.Log.Error("a job of an earlier process can't go on", "dir", h.dir, "error", err)
		default:
			all = append(all, t)
		}
	}
	return all
}

func (h *home) tenant() (t tenant, err error) {
	if h.record, err = h.read(); err != nil {
		return t, err
	}
	data, err := os.ReadFile(h.submission())
	if err != nil {
		return t, err
	}
	t = tenant{id: h.record.Job, dir: h.dir, failed: h.record.Failed, paused: h.record.Paused, req: &jobpb.PrepareJobRequest{}}
	if err := proto.Unmarshal(data, t.req); err != nil {
		return t, fmt.Errorf("%s is damaged: %w", h.submission(), err)
	}
	return t, nil
}

// resume lets jobs go on whose workers can be started, each in its own time.
func (s *Server) resume(ctx context.Context, all []tenant) {
	for _, t := range all {
		log := s.jobs.cfg.Log.With("job", t.id, "job_name", t.req.GetJobName(), "dir", t.dir)
		if t.failed != "" {
			log.Info("a job that failed waits until it is started again, with the same job name", "why", t.failed)
			continue
		}
		if t.paused != nil {
			s.jobs.homes.pause(t.dir, pausedHome{id: t.id, name: t.req.GetJobName()})
			if err := s.job.AddPaused(t.id, t.req, t.paused.text(t.req.GetJobName())); err != nil {
				log.Error("a paused job of an earlier process is not listed", "error", err)
			}
			continue
		}
		if err := startable(t.req); err != nil {
			log.Info("a job of an earlier process waits for its program", "why", err)
			continue
		}
		go func() {
			if err := awaitPools(ctx, t.req.GetPipeline()); err != nil {
				return // the server stops
			}
			if err := s.job.Resume(t.id, t.req); err != nil {
				log.Error("a job of an earlier process can't go on", "error", err)
			}
		}()
	}
}

// startable says why the server can't start a job's workers, or nil.
func startable(req *jobpb.PrepareJobRequest) error {
	if strings.EqualFold(givenOptions(req.GetPipelineOptions())["environment_type"], "LOOPBACK") {
		return errors.New("its worker is the program that submitted it (LOOPBACK): start that again, with the same job name")
	}
	for _, e := range req.GetPipeline().GetComponents().GetEnvironments() {
		if err := foreign(e); err != nil {
			return err
		}
	}
	return nil
}

const urnExternal = "beam:env:external:v1"

// foreign says that a server can't start workers of an environment, whatever it does.
func foreign(e *pipepb.Environment) error {
	switch e.GetUrn() {
	case urnExternal, "beam:env:process:v1", "beam:env:default:v1", "":
		return nil
	}
	return fmt.Errorf("its environment %s ends with its program: start that again, with the same job name", e.GetUrn())
}

// awaitPools waits until the worker pools of a pipeline can be reached.
func awaitPools(ctx context.Context, p *pipepb.Pipeline) error {
	for _, e := range p.GetComponents().GetEnvironments() {
		if e.GetUrn() != urnExternal {
			continue
		}
		var payload pipepb.ExternalPayload
		if proto.Unmarshal(e.GetPayload(), &payload) != nil {
			continue // the job will say what is wrong with it
		}
		for {
			dial := net.Dialer{Timeout: time.Second}
			c, err := dial.DialContext(ctx, "tcp", payload.GetEndpoint().GetUrl())
			if err == nil {
				_ = c.Close() // it was there
				break
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}
