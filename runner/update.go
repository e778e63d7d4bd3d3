package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/runner/job"
	"github.com/summerbeam/summerbeam/statebackend"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// An update lets a pipeline of another shape take over a job. What the job keeps is matched by
// the unique names of transforms and the ids of their states and timers. It is made while
// nobody runs the job: on a checkpoint of its store, beside it, and the record's rename is
// what makes it the job's. A crash before that leaves the job as it was.

// Options of an update. Dataflow's names for the first and the last, which several SDKs
// know, mean the same.
const (
	optionUpdate    = "summerbeam_update"
	optionDropState = "summerbeam_drop_state"
	optionRenamed   = "summerbeam_transform_name_mapping"
)

// updateOptions is what a pipeline says about updates.
type updateOptions struct {
	// wanted: a pipeline of another shape may be taken over from. planOnly: tell what would
	// become of it, and end.
	wanted, planOnly bool
	drop             bool
	renamed          map[string]string
}

func readUpdateOptions(opts *structpb.Struct) (o updateOptions, err error) {
	given := givenOptions(opts)
	first := func(names ...string) string {
		for _, name := range names {
			if v := given[name]; v != "" {
				return v
			}
		}
		return "false"
	}
	switch v := first(optionUpdate, "update"); v {
	case "plan":
		o.wanted, o.planOnly = true, true
	default:
		if o.wanted, err = strconv.ParseBool(v); err != nil {
			return o, fmt.Errorf("option --%s: %q is neither true nor plan", optionUpdate, v)
		}
	}
	if o.drop, err = strconv.ParseBool(first(optionDropState)); err != nil {
		return o, fmt.Errorf("option --%s: %w", optionDropState, err)
	}
	if v := first(optionRenamed, "transform_name_mapping"); v != "false" {
		if err := json.Unmarshal([]byte(v), &o.renamed); err != nil {
			return o, fmt.Errorf(`option --%s: it is no JSON object such as {"old name": "new name"}: %w`, optionRenamed, err)
		}
	}
	return o, nil
}

// takeover is an update that is to be made.
type takeover struct {
	from, to *graph.Plan
	renamed  map[string]string
}

// compare finds whether a plan has the shape of the one that lives here, and else whether
// it may take over. Nothing is written.
func (h *home) compare(plan *graph.Plan, how updateOptions) error {
	data, err := os.ReadFile(h.submission())
	if err != nil {
		return fmt.Errorf("what was submitted as job %q: %w", h.record.Name, err)
	}
	var req jobpb.PrepareJobRequest
	if err := proto.Unmarshal(data, &req); err != nil {
		return fmt.Errorf("%s is damaged: %w", h.submission(), err)
	}
	from, err := graph.Compile(req.GetPipeline())
	if err != nil {
		return fmt.Errorf("the pipeline that lives in %s: %w", h.dir, err)
	}
	from.GroupByState()
	if planHash(from) != h.record.Plan {
		return fmt.Errorf("another version of this program has stored the job in %s, and would run its pipeline in other stages: go on with that version", h.dir)
	}
	matches, err := graph.Compare(from, plan, how.renamed)
	if err != nil {
		return err
	}
	var differ []string
	for _, m := range matches {
		switch {
		case m.Old == nil:
			differ = append(differ, m.New.String()+" is new")
		case m.New == nil:
			differ = append(differ, m.Old.String()+" is gone")
		case m.Differs():
			differ = append(differ, fmt.Sprintf("%s is %s, was %s", m.New, m.New.Shape, m.Old.Shape))
		}
	}
	if len(differ) == 0 && planHash(plan) == h.record.Plan {
		return nil
	}
	if !how.wanted {
		const most = 5
		if len(differ) > most {
			differ = append(differ[:most], fmt.Sprintf("and %d more", len(differ)-most))
		}
		return fmt.Errorf("a job named %q lives in %s, and its pipeline has %w than this one (%s): "+
			"say --%s=true to let this one take it over, or =plan to see first what would become of its state; or give this one another --job_name",
			h.record.Name, h.dir, errOtherShape, strings.Join(differ, "; "), optionUpdate)
	}
	h.update = &takeover{from: from, to: plan, renamed: how.renamed}
	return nil
}

// takeOver makes the update, if there is one to make. st is the home's store, locked; the
// job runs with the one that is returned. On an error neither is open, and the home is as it was.
func (h *home) takeOver(st statebackend.Store, open func(dir string) (statebackend.Store, error), cfg core.Config, how updateOptions, log *slog.Logger) (_ statebackend.Store, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, st.Close())
		}
	}()
	// Only now nobody else can change the record.
	if r, err := h.read(); err == nil && (r.Generation != h.record.Generation || r.Plan != h.record.Plan) {
		return nil, fmt.Errorf("the job in %s was updated meanwhile: start this one again", h.dir)
	}
	if h.aside != nil {
		aside, name := h.asideDir(), h.record.Name
		fresh, err := h.setAside(st, open)
		if err != nil {
			return nil, fmt.Errorf("putting the failed job %q aside: %w", name, err)
		}
		log.Warn("a job of this name has failed, and this is another pipeline: the state of the failed job is put aside", "name", name, "dir", aside)
		return fresh, nil
	}
	if h.update == nil {
		return st, nil
	}
	u, err := engine.PlanUpdate(st, h.update.from, h.update.to, cfg, h.update.renamed)
	if errors.Is(err, engine.ErrNothingStored) {
		h.record.Plan = planHash(h.update.to)
		return st, nil
	}
	if err != nil {
		return nil, fmt.Errorf("update: %w", err)
	}
	if err := refused(u, how); err != nil {
		return nil, err
	}
	was := *h
	next := *h
	next.record.Generation++
	next.record.Plan = planHash(h.update.to)
	if err := os.RemoveAll(next.store()); err != nil {
		return nil, fmt.Errorf("update: %w", err)
	}
	if err := st.Checkpoint(next.store()); err != nil {
		return nil, fmt.Errorf("update: %w", err)
	}
	changed, err := open(next.store())
	if err != nil {
		return nil, fmt.Errorf("update: %w", err)
	}
	if err := u.Apply(changed); err != nil {
		return nil, errors.Join(fmt.Errorf("update: %w", err), changed.Close())
	}
	h.record = next.record
	// The old one stays until the record names the other: see move.
	h.before = func() error {
		return errors.Join(st.Close(), os.RemoveAll(was.store()), os.Remove(was.submission()))
	}
	return changed, nil
}

// refused says why an update can't be made as things are.
func refused(u *engine.Update, how updateOptions) error {
	if len(u.Problems) > 0 {
		return fmt.Errorf("the job can't be updated:\n%s", strings.Join(u.Problems, "\n"))
	}
	if len(u.Drops) > 0 && !how.drop {
		return fmt.Errorf("the update would drop what the new pipeline has no place for; say --%s=true if that is meant:\n%s", optionDropState, strings.Join(u.Drops, "\n"))
	}
	return nil
}

// makeRoom ends the job that lives in the home, if it runs here, for this one to take it
// over; its state is kept, as when a server stops. It runs on if the update would be refused.
func (e *execution) makeRoom(ctx context.Context) error {
	for _, other := range e.jobs.live.all() {
		if other.home == nil || other.home.dir != e.home.dir {
			continue
		}
		plan := &updatePlan{jobs: e.jobs, info: e.info, home: e.home, how: e.how, cfg: e.cfg.Core}
		if err := plan.Run(ctx); err != nil {
			return err
		}
		other.stop(job.ErrUpdated)
	}
	return nil
}

// updatePlan is the execution of a pipeline that only asks what an update would do.
type updatePlan struct {
	jobs *jobs
	info *engine.JobInfo
	home *home
	how  updateOptions
	cfg  core.Config
}

// Run implements job.Execution: it writes to the job's log what would become of each thing
// that the job keeps, and fails if the update would be refused.
func (p *updatePlan) Run(context.Context) error {
	if p.home.update == nil {
		p.info.Log.Info("there is nothing to update: no job of this name has another shape", "name", p.info.Name)
		return nil
	}
	st, done, err := p.look()
	if err != nil {
		return fmt.Errorf("update plan: %w", err)
	}
	u, err := engine.PlanUpdate(st, p.home.update.from, p.home.update.to, p.cfg, p.how.renamed)
	if err = errors.Join(err, done()); err != nil {
		return fmt.Errorf("update plan: %w", err)
	}
	for _, line := range u.Lines {
		p.info.Log.Info(line)
	}
	return refused(u, p.how)
}

// look opens a copy of the job's store if the job runs here, and else the store itself.
func (p *updatePlan) look() (st statebackend.Store, done func() error, err error) {
	for _, e := range p.jobs.live.all() {
		if e.home == nil || e.home.dir != p.home.dir {
			continue
		}
		dir := filepath.Join(p.jobs.dir, "spill", p.info.ID)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, nil, err
		}
		copied := filepath.Join(dir, "store")
		if err := e.Job.Savepoint(copied); err != nil {
			return nil, nil, errors.Join(err, os.RemoveAll(dir))
		}
		if st, err = p.jobs.openStore(copied, nil); err != nil {
			return nil, nil, errors.Join(err, os.RemoveAll(dir))
		}
		return st, func() error { return errors.Join(st.Close(), os.RemoveAll(dir)) }, nil
	}
	st, err = p.jobs.openStore(p.home.store(), nil)
	if err != nil {
		return nil, nil, err
	}
	return st, st.Close, nil
}

// Outlives implements job.Execution.
func (*updatePlan) Outlives() bool { return false }

// Drain implements job.Execution.
func (*updatePlan) Drain() {}

// Metrics implements job.Execution.
func (*updatePlan) Metrics() (attempted, committed []*pipepb.MonitoringInfo) { return nil, nil }
