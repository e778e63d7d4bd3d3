package inproc

import (
	"context"
	"fmt"
	"runtime/debug"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/util/hooks"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/summerbeam/summerbeam/runner/engine"
)

// grace is how long Run waits for the user code of a bundle that is given up.
const grace = 50 * time.Millisecond

// bundleRun is a bundle on its way. Four goroutines meet in it: the caller of
// Run, which only waits; execute, which has the plan; feed, which reads the
// input; and whoever splits or asks for progress.
type bundleRun struct {
	w *worker
	b *engine.Bundle
	// ctx ends when the bundle is over, with the cause if it is given up.
	ctx    context.Context
	cancel context.CancelCauseFunc
	gate   *gate

	// Of the execute goroutine until done is closed:

	plan    *plan
	writers []*chunkWriter
	result  *engine.Result
	err     error
	// done is closed when execute is through.
	done chan struct{}

	// opened says that the SDK has asked for input.
	opened atomic.Bool
	// fed says that the input and the timers have been handed over to their end.
	fed      atomic.Bool
	feedDone chan struct{}

	// ask is held by whoever questions the running plan. execute takes it
	// when the plan's work is done and keeps it: the plan's next bundle is not to be
	// split in this one's name.
	ask chan struct{}
	// live and store are the plan's that may be questioned; set before opened.
	live  *plan
	store *metrics.Store
	// residual is the first element that was split off, -1 if none was. Guarded by ask.
	residual int64
}

func newBundleRun(ctx context.Context, w *worker, b *engine.Bundle) *bundleRun {
	r := &bundleRun{
		w: w, b: b,
		gate:     newGate(),
		done:     make(chan struct{}),
		feedDone: make(chan struct{}),
		ask:      make(chan struct{}, 1),
		residual: -1,
	}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	return r
}

// execute runs the bundle. Everything that may call user code happens in its
// goroutine, making the plan and taking it down included, so that nothing but this
// goroutine can hang.
func (r *bundleRun) execute() {
	pprof.SetGoroutineLabels(pprof.WithLabels(r.ctx, pprof.Labels("bundle", r.b.ID, "stage", r.b.Stage)))
	r.err = errGoexit
	defer func() {
		if p := recover(); p != nil {
			r.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		if r.plan == nil {
			r.err = r.explain(r.err)
			close(r.done)
			return
		}
		// The plan is back before Run returns: the next bundle finds it.
		if r.err == nil && !r.result.Finalize {
			r.w.plans.put(r.plan)
		}
		if r.err == nil {
			close(r.done)
			return
		}
		// A broken plan is of no more use, nor is one whose context has ended: its
		// DoFns may hold half of a bundle. Teardown may take its time.
		r.err = r.explain(r.err)
		p := r.plan
		close(r.done)
		p.discard()
	}()
	r.result, r.err = r.run()
}

func (r *bundleRun) run() (*engine.Result, error) {
	p, err := r.w.plans.get(r.b.Descriptor)
	if err != nil {
		return nil, err
	}
	r.plan = p

	req := request(r.b)
	ctx := hooks.RunRequestHooks(bundleContext{r.ctx, r.w.values}, req)
	ctx = metrics.SetBundleID(ctx, r.b.ID)
	store := metrics.GetStore(ctx)
	r.live, r.store = p, store // Nobody asks before the SDK has opened its input.
	err = func() error {
		stop := r.w.sampler.add(r, store)
		defer func() {
			stop()
			// From here on nobody else is at the plan.
			r.ask <- struct{}{}
			hooks.RunResponseHooks(ctx, req, response(r.b))
		}()
		return p.Execute(ctx, r.b.ID, exec.DataContext{Data: dataManager{r}, State: stateReader{r}})
	}()
	// Execute takes the end of its context for the end of its input, and says nil.
	if r.ctx.Err() != nil {
		return nil, context.Cause(r.ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := r.flush(); err != nil {
		return nil, err
	}
	if err := r.checkCount(); err != nil {
		return nil, err
	}
	res := &engine.Result{Residuals: residuals(p.Checkpoint()), Metrics: p.monitoringInfos(store)}
	if p.hasCallbacks() {
		// The plan is not used again, even if the callbacks have expired already.
		res.Finalize = true
		r.w.await(r.b.ID, p)
	}
	return res, nil
}

// checkCount compares what the SDK has read with what it was to read. It is the
// only sign that input was cut inside an element: the SDK reads up to the cut and
// ends the bundle as if all were well.
func (r *bundleRun) checkCount() error {
	if !r.fed.Load() {
		return fmt.Errorf("BUG: the bundle of stage %s ended before its input", r.b.Stage)
	}
	want := r.b.Elements
	if r.residual >= 0 {
		want = min(want, r.residual)
	}
	snap, _ := r.plan.Progress()
	if got := snap.Source.Count; got != want {
		return fmt.Errorf("stage %s: the Go SDK has read %d elements of %d: the input was cut inside an element, or its coder isn't the SDK's",
			r.b.Stage, got, want)
	}
	return nil
}

// explain puts the cause of a given-up bundle in the place of errors that
// only follow from it: a sink that was refused, a state call that was cancelled.
func (r *bundleRun) explain(err error) error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return err
}

// awaitFeed waits for the reader of the input, which has ended with the bundle
// unless the input blocks.
func (r *bundleRun) awaitFeed() {
	r.cancel(nil)
	if !r.opened.Load() {
		return
	}
	select {
	case <-r.feedDone:
	case <-time.After(grace):
	}
}

func residuals(cps []*exec.Checkpoint) []*fnpb.DelayedBundleApplication {
	var out []*fnpb.DelayedBundleApplication
	for _, cp := range cps {
		for _, el := range cp.SR.RS {
			out = append(out, &fnpb.DelayedBundleApplication{
				Application: &fnpb.BundleApplication{
					TransformId:      cp.SR.TId,
					InputId:          cp.SR.InId,
					Element:          el,
					OutputWatermarks: cp.SR.OW,
				},
				RequestedTimeDelay: durationpb.New(cp.Reapply),
			})
		}
	}
	return out
}

// request and response are what hooks see of a bundle.
func request(b *engine.Bundle) *fnpb.InstructionRequest {
	return &fnpb.InstructionRequest{
		InstructionId: b.ID,
		Request: &fnpb.InstructionRequest_ProcessBundle{
			ProcessBundle: &fnpb.ProcessBundleRequest{ProcessBundleDescriptorId: b.Descriptor.GetId()},
		},
	}
}

func response(b *engine.Bundle) *fnpb.InstructionResponse {
	return &fnpb.InstructionResponse{
		InstructionId: b.ID,
		Response:      &fnpb.InstructionResponse_ProcessBundle{ProcessBundle: &fnpb.ProcessBundleResponse{}},
	}
}
