package inproc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/runner/engine"
)

// errClosed ends the bundles of a closed worker. The engine may run them
// elsewhere.
var errClosed = fmt.Errorf("the worker in this process was closed: %w", engine.ErrWorkerLost)

// worker runs bundles on plans of this process.
type worker struct {
	id  string
	log *slog.Logger
	// values holds what the SDK's init hooks put into their context.
	values context.Context
	opts   Options
	// timeout is the element processing timeout, 0 for none.
	timeout time.Duration
	plans   *planPool
	sampler *sampler

	mu sync.Mutex
	// guarded by mu
	running map[string]*bundleRun
	waiting map[string]waitingPlan
	closed  bool
}

// waitingPlan is a plan whose bundle has registered finalizers.
type waitingPlan struct {
	*plan
	expires time.Time
}

func newWorker(id string, log *slog.Logger, values context.Context, o Options) *worker {
	return &worker{
		id:      id,
		log:     log,
		values:  values,
		opts:    o,
		timeout: elementTimeout(),
		plans:   newPlanPool(),
		sampler: newSampler(o.SamplePeriod),
		running: map[string]*bundleRun{},
		waiting: map[string]waitingPlan{},
	}
}

// Run implements engine.Worker.
func (w *worker) Run(ctx context.Context, b *engine.Bundle) (*engine.Result, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r := newBundleRun(ctx, w, b)
	if err := w.add(r); err != nil {
		r.cancel(err)
		return nil, err
	}
	go r.execute()

	select {
	case <-r.done:
	case <-r.ctx.Done():
		// Either the plan's own goroutine has ended the context, and done follows; or
		// the bundle is given up. Code that heeds its context is through in a moment,
		// and is worth waiting for: its plan can be taken down in order.
		select {
		case <-r.done:
		case <-time.After(grace):
		}
	}
	// A plan that was given up goes on to run, but from here nobody hears it.
	r.gate.shut()
	w.remove(r)
	r.awaitFeed()

	select {
	case <-r.done:
		return r.result, r.err
	default:
		go r.watchHang()
		return nil, context.Cause(r.ctx)
	}
}

func (w *worker) add(r *bundleRun) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errClosed
	}
	if w.running[r.b.ID] != nil {
		return fmt.Errorf("BUG: bundle %s of stage %s is running already", r.b.ID, r.b.Stage)
	}
	w.running[r.b.ID] = r
	return nil
}

func (w *worker) remove(r *bundleRun) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, r.b.ID)
}

func (w *worker) lookup(bundle string) *bundleRun {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running[bundle]
}

// Split implements engine.Worker.
func (w *worker) Split(ctx context.Context, bundle string, fraction float64, elements int64) (*fnpb.ProcessBundleSplitResponse, error) {
	r := w.lookup(bundle)
	if r == nil {
		return nil, nil
	}
	return r.split(ctx, fraction, elements)
}

// Progress implements engine.Worker.
func (w *worker) Progress(ctx context.Context, bundle string) ([]*pipepb.MonitoringInfo, error) {
	r := w.lookup(bundle)
	if r == nil {
		return nil, nil
	}
	return r.progress(ctx)
}

// await keeps a plan for the finalization of its bundle. Plans whose callbacks
// have all expired are given up on the way: their bundles' engine has either
// finalized them or gone.
func (w *worker) await(bundle string, p *plan) {
	now := time.Now()
	var expired []*plan
	w.mu.Lock()
	for id, o := range w.waiting {
		if now.After(o.expires) {
			delete(w.waiting, id)
			expired = append(expired, o.plan)
		}
	}
	closed := w.closed
	if !closed {
		w.waiting[bundle] = waitingPlan{p, p.GetExpirationTime()}
	}
	w.mu.Unlock()
	if closed {
		expired = append(expired, p)
	}
	for _, p := range expired {
		p.discard()
	}
}

// Finalize implements engine.Worker: it calls back what the bundle's DoFns have
// registered and that has not expired. A bundle that isn't known any more has
// expired.
func (w *worker) Finalize(ctx context.Context, bundle string) error {
	w.mu.Lock()
	p, ok := w.waiting[bundle]
	delete(w.waiting, bundle)
	w.mu.Unlock()
	if !ok {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		defer p.discard()
		err := errGoexit
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("a finalization callback panicked: %v\n%s", r, debug.Stack())
			}
			done <- err
		}()
		err = p.Finalize()
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("finalizing bundle %s: %w", bundle, err)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close implements engine.Worker: running bundles end with ErrWorkerLost, plans
// are taken down.
func (w *worker) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	running := make([]*bundleRun, 0, len(w.running))
	for _, r := range w.running {
		running = append(running, r)
	}
	waiting := w.waiting
	w.waiting = nil
	w.mu.Unlock()

	for _, r := range running {
		r.cancel(errClosed)
	}
	for _, p := range waiting {
		p.discard()
	}
	w.plans.close()
	w.sampler.close()
	return nil
}

// errGoexit ends a bundle whose user code left its goroutine, as FailNow of a
// test does.
var errGoexit = errors.New("user code ended its goroutine by runtime.Goexit (testing's FailNow and Fatal do)")
