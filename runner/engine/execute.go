package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// guard turns a panic into an error: none may cross a job's boundary.
func guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
		}
	}()
	return fn()
}

// startBundle sets a bundle going. The loop calls it.
func (j *Job) startBundle(ctx context.Context, a core.RunBundle) {
	st := j.stages[a.Stage]
	r := &runningBundle{
		id:      fmt.Sprintf("%s-%s-%v", j.info.ID, st.plan.ID, a.Bundle),
		stage:   st,
		started: time.Now(),
		blocks:  a.Blocks,
	}
	for i := range a.Blocks {
		r.elements += a.Blocks[i].Count
	}
	ctx, r.cancel = context.WithCancelCause(ctx)
	var shard *shardState
	if st.shards != nil {
		shard = st.shards[a.Shard]
	}
	for _, side := range st.sideList {
		if side.windows != nil {
			side.sweep(a.Event)
		}
	}
	r.state = newBundleState(st, shard, j.store.reader)
	r.state.iterables.bundle = r.id
	if st.timers != nil {
		r.timers = newBundleTimers(st, st.timers[a.Shard], a)
	}
	j.running[a.Bundle] = r
	j.metrics.BundleStarted(r.id)
	go func() {
		defer r.cancel(nil)
		defer r.state.letGo()
		var ev core.Event
		err := guard(func() (err error) {
			ev, err = j.runBundle(ctx, a, r)
			return err
		})
		if err != nil {
			r.timers.giveBack()
			failed := core.BundleFailed{
				Bundle: a.Bundle, Err: err,
				WorkerLost: errors.Is(err, ErrWorkerLost),
				Fatal:      errors.Is(err, errLetter) || errors.Is(err, errCoder) || errors.Is(err, errSpill) || errors.Is(err, errSplit) || errors.Is(err, errPanic) || errors.Is(err, errStart),
			}
			if !failed.Fatal && ctx.Err() == nil {
				failed.Err = j.saveCapsule(a, r, err)
			}
			ev = failed
		}
		// See askSplit: an answer on its way goes first.
		r.splitMu.Lock()
		defer r.splitMu.Unlock()
		r.over = true
		if failed, ok := ev.(core.BundleFailed); ok {
			ev = j.failedBundle(a, r, failed)
		}
		j.send(ev)
	}()
}

// errStart marks a worker that could not be started: its environment's fault, which
// another attempt would meet again.
var errStart = errors.New("no worker")

// runBundle runs a bundle to its end and gathers its effects.
func (j *Job) runBundle(ctx context.Context, a core.RunBundle, r *runningBundle) (core.Event, error) {
	fin := core.BundleFinished{Bundle: a.Bundle}
	out := newOutputs(r.stage, j.limits(), j.keep)
	applied := false
	defer func() {
		if !applied {
			out.drop()
		}
	}()
	if a.Poison != nil {
		applied = true
		return fin, j.putAside(a, r)
	}
	switch r.stage.plan.Kind {
	case graph.TestStream:
		for _, b := range a.Blocks {
			ev, told := b.Payload.(*graph.TestEvent)
			if !told {
				ev = &r.stage.plan.TestEvents[b.Payload.(int)]
			}
			for _, e := range ev.Elements {
				if err := out.await(ctx); err != nil {
					return nil, err
				}
				if err := out.add(ev.Output, e); err != nil {
					return nil, err
				}
			}
		}
	case graph.Impulse:
		for i := range r.stage.routes.outputs {
			if err := out.add(i, impulse()); err != nil {
				return nil, err
			}
		}
	case graph.Forward:
		for data, err := range render(a.Blocks, nil) {
			if err != nil {
				return nil, err
			}
			for i := range r.stage.routes.outputs {
				if err := out.await(ctx); err != nil {
					return nil, err
				}
				if err := out.add(i, data); err != nil {
					return nil, err
				}
			}
		}
	case graph.SDK:
		if a.Truncate {
			t := &truncated{sink: r.stage.plan.Truncate.Sink}
			if _, err := j.runOnWorker(ctx, a, r, t.take, nil); err != nil {
				return nil, err
			}
			var err error
			if fin.Residuals, err = t.residuals(r.stage, a.Blocks); err != nil {
				return nil, err
			}
			break
		}
		if a.Sides != nil {
			waits, late, err := r.stage.waits(ctx, &a)
			if err != nil {
				return nil, err
			}
			if waits != nil {
				r.late += late
				r.timers.giveBack()
				r.recut = j.keep.recut(a.Blocks, waits)
				return *waits, nil
			}
		}
		if err := r.timers.begin(); err != nil {
			return nil, err
		}
		if r.stage.plan.Expiry != nil {
			kept, gone, late, err := r.stage.dropExpired(a.Blocks, a.Event)
			if err != nil {
				return nil, err
			}
			if late > 0 {
				r.late += late
				a.Blocks = kept
				r.elements -= gone
			}
			if len(a.Blocks) == 0 && r.timers.quiet() {
				break
			}
		}
		if l := r.stage.lifting; l != nil {
			var scout bool
			if r.lifted, scout = l.lift(); scout {
				sample := &keySample{}
				out.sample = sample
				// Behind out.finish or out.drop, whichever lets go of it.
				defer func() { l.learn(sample) }()
			}
		}
		res, err := j.runOnWorker(ctx, a, r, out.take, out.await)
		if err != nil {
			return nil, err
		}
		if fin.Residuals, err = r.stage.residuals(res.Residuals); err != nil {
			return nil, err
		}
		fin.Finalize = res.Finalize
	}
	var err error
	if fin.Outputs, err = out.finish(); err != nil {
		return nil, err
	}
	if err := r.timers.expire(r.state); err != nil {
		return nil, err
	}
	if r.state.shard != nil {
		r.state.learnHabits(r.elements)
		if l := r.state.staged(); !l.empty() {
			fin.StateBytes = max(1, l.growth(r.state.shard.views.Load().dirty))
		}
	}
	// The last step that can fail: from here on the bundle is as good as applied.
	if fin.Timers, err = r.timers.settle(); err != nil {
		return nil, err
	}
	for i := range fin.Residuals {
		j.keep.hold(&fin.Residuals[i].Block)
	}
	applied = true
	if r.state.shard != nil && r.ranOn != nil {
		r.state.shard.cache.end(r.ranOn)
	}
	return fin, nil
}

// impulse is the one element of an Impulse: no bytes, in the global window.
func impulse() []byte {
	b := coders.AppendHeader(nil, coders.MinTimestamp, nil, 1, []byte{coders.PaneNoFiring})
	return coders.AppendVarint(b, 0) // the length of the empty byte string
}

func (j *Job) runOnWorker(ctx context.Context, a core.RunBundle, r *runningBundle, out func(sink string, data []byte) error, room func(context.Context) error) (*Result, error) {
	p := j.pools[r.stage.plan.Environment]
	w, err := p.get(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %w", errStart, err)
	}
	in := &claimReader{keep: j.keep, blocks: a.Blocks, tokens: r.state.iterables}
	defer in.close()
	r.at.Store(&w)
	b := &Bundle{
		ID: r.id, Stage: r.stage.plan.Name,
		Descriptor:    r.stage.plan.Descriptor,
		Source:        r.stage.plan.Input.Source,
		Elements:      r.elements,
		Input:         r.state.readAhead(r.timers.watch(in.read)),
		Timers:        r.timers.fire(),
		TimerFamilies: r.stage.families,
		Output:        out,
		AwaitRoom:     room,
		TimerOutput:   r.timers.take,
		State:         r.state,
	}
	recorded := a.Last && j.cfg.Capsules.Dir != ""
	// A worker must not answer from memory what is to be recorded. State has a new name
	// behind each failure.
	b.CacheTokens = r.stage.cacheTokens(r.state.shard, w, j.info.ID, r.id, !recorded)
	switch {
	case a.Truncate:
		b.Descriptor, b.Source = r.stage.plan.Truncate.Descriptor, r.stage.plan.Truncate.Source
	case r.stage.lifting != nil && !r.lifted:
		b.Descriptor = r.stage.plan.Unlifted
	}
	if recorded {
		r.recorded = j.record(b)
	}
	res, err := w.Run(ctx, b)
	r.at.Store(nil)
	if err != nil {
		if errors.Is(err, ErrWorkerLost) {
			p.lost(w)
		}
		return nil, err
	}
	r.ranOn, r.metrics = w, res.Metrics
	return res, nil
}

// residuals makes blocks of what a splittable root left for later.
func (r *stageRun) residuals(in []*fnpb.DelayedBundleApplication) ([]core.Residual, error) {
	var out []core.Residual
	for _, d := range in {
		b, err := r.rootBlock(d.GetApplication())
		if err != nil {
			return nil, fmt.Errorf("residual: %w", err)
		}
		out = append(out, core.Residual{Block: b, Delay: d.GetRequestedTimeDelay().AsDuration()})
	}
	return out, nil
}

// poll asks long-running bundles for their metrics so far, and logs the job's
// progress. The loop calls it.
func (j *Job) poll(ctx context.Context) {
	for _, r := range j.running {
		if time.Since(r.started) < j.cfg.ProgressEvery {
			continue
		}
		w := r.worker()
		if w == nil {
			continue
		}
		j.background.Add(1)
		go func() {
			defer j.background.Done()
			ctx, cancel := context.WithTimeout(ctx, j.cfg.ProgressEvery)
			defer cancel()
			var infos []*pipepb.MonitoringInfo
			err := guard(func() (err error) {
				infos, err = w.Progress(ctx, r.id)
				return err
			})
			if err == nil && infos != nil {
				err = j.metrics.Progress(r.id, infos)
			}
			if err != nil {
				j.info.Log.Debug("progress of a bundle", "bundle", r.id, "error", err)
			}
		}()
	}
	j.report()
}
