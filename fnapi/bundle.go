package fnapi

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
)

// run is a bundle on its worker, from Run's call until the worker has answered,
// which may be long after Run has returned.
type run struct {
	w                 *worker
	id, stage, source string
	d                 *descriptor
	// b is nil once Run has returned: a bundle that the worker never answers must
	// not hold on to its input.
	b *engine.Bundle

	// ctx ends when there is nothing more to do for the bundle: the worker has
	// answered, or Run returns.
	ctx    context.Context
	cancel context.CancelCauseFunc
	// answered is closed with the worker's answer, done when the outcome is known.
	answered, done chan struct{}
	// begun is set just before the request that starts the bundle goes out: what is sent
	// from then on comes behind it.
	begun atomic.Bool
	// fed is set just before the message that ends the input goes out: the answer
	// to it may be here before the feeder runs again.
	fed atomic.Bool

	state stateQueue
	// awaitRoom is the bundle's. taking ends when Run returns: output may come behind the answer.
	awaitRoom func(context.Context) error
	taking    context.Context
	takeNone  context.CancelFunc

	// outMu is held while Output and TimerOutput are called, which only append
	// memory; so who gets it after over is set knows that no call is under way.
	outMu sync.Mutex
	// over says that Run returns: no callback any more.
	over     bool
	ended    []bool
	open     int
	response *fnpb.ProcessBundleResponse
	err      error
	finished bool
}

// errAnswered ends the contexts of state calls that are still under way when
// their bundle's answer comes.
var errAnswered = errors.New("the bundle is over")

func newRun(ctx context.Context, w *worker, b *engine.Bundle, d *descriptor) *run {
	r := &run{
		w: w, id: b.ID, stage: b.Stage, source: b.Source, d: d, b: b,
		answered: make(chan struct{}), done: make(chan struct{}),
		ended: make([]bool, len(d.outputs)), open: len(d.outputs),
		awaitRoom: b.AwaitRoom,
	}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.taking, r.takeNone = context.WithCancel(ctx)
	r.state.run = r
	return r
}

// Run runs one bundle. See engine.Worker.
func (w *worker) Run(ctx context.Context, b *engine.Bundle) (*engine.Result, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := w.gate.enter(ctx, w); err != nil {
		return nil, fmt.Errorf("bundle %s: %w", b.ID, err)
	}
	d, err := w.register(b) // in the gate: between bundles descriptors are renewed
	if err != nil {
		w.gate.leave()
		return nil, fmt.Errorf("stage %q: %w", b.Stage, err)
	}
	r := newRun(ctx, w, b, d)
	if err := w.addRun(r); err != nil {
		w.gate.leave()
		return nil, fmt.Errorf("bundle %s: %w", b.ID, err)
	}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		r.feed()
	}()
	select {
	case <-r.done:
	case <-ctx.Done():
		r.fail(context.Cause(ctx))
	case <-w.gone:
		r.fail(w.lostErr())
	}
	response, err := r.close()
	// The feeder reads the caller's memory: it must be out of it too.
	<-fed
	r.release()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) {
			return nil, err
		}
		return nil, fmt.Errorf("bundle %s: %w", b.ID, err)
	}
	if response.GetRequiresFinalization() {
		w.wantsFinalize(r)
	}
	metrics, err := w.resolve(ctx, response.GetMonitoringInfos(), response.GetMonitoringData())
	if err != nil {
		return nil, fmt.Errorf("bundle %s: metrics: %w", b.ID, err)
	}
	return &engine.Result{
		Residuals: response.GetResidualRoots(),
		Metrics:   metrics,
		Finalize:  response.GetRequiresFinalization(),
	}, nil
}

// close ends all callbacks and returns the outcome.
func (r *run) close() (*fnpb.ProcessBundleResponse, error) {
	r.cancel(errAnswered)
	r.takeNone()
	r.outMu.Lock()
	r.over = true
	response, err, answered := r.response, r.err, r.hasAnswer()
	r.outMu.Unlock()
	r.state.close()
	if answered {
		r.w.removeRun(r)
	}
	return response, err
}

// release lets go of the bundle. Nobody uses it any more.
func (r *run) release() {
	r.outMu.Lock()
	defer r.outMu.Unlock()
	r.b = nil
}

func (r *run) hasAnswer() bool {
	select {
	case <-r.answered:
		return true
	default:
		return false
	}
}

// fail gives the bundle its error, unless the outcome is known.
func (r *run) fail(err error) {
	r.outMu.Lock()
	defer r.outMu.Unlock()
	r.finish(err)
}

// finish settles the outcome. outMu is held.
func (r *run) finish(err error) {
	if r.finished {
		return
	}
	r.finished, r.err = true, err
	close(r.done)
}

// respond takes the worker's answer.
func (r *run) respond(resp *fnpb.InstructionResponse) {
	r.outMu.Lock()
	defer r.outMu.Unlock()
	if r.hasAnswer() {
		return
	}
	close(r.answered)
	r.cancel(errAnswered)
	r.w.gate.leave()
	if r.over {
		r.w.removeRun(r)
		return
	}
	r.response = resp.GetProcessBundle()
	switch {
	case resp.GetError() != "":
		r.finish(errors.New(resp.GetError()))
	case r.response == nil:
		r.finish(fmt.Errorf("worker %s answered with %T", r.w.id, resp.GetResponse()))
	case !r.fed.Load():
		// The SDK has not read all and says it is done: it missed something.
		r.finish(fmt.Errorf("worker %s answered before its input was complete", r.w.id))
	default:
		for _, d := range r.response.GetElements().GetData() {
			r.take(output{transform: d.GetTransformId()}, d.GetData(), d.GetIsLast())
		}
		for _, t := range r.response.GetElements().GetTimers() {
			r.take(output{t.GetTransformId(), t.GetTimerFamilyId(), true}, t.GetTimers(), t.GetIsLast())
		}
		r.settle()
	}
}

// receive takes a block from the data stream. While there is no place for it the stream waits,
// and so do the worker's other bundles, if they write: the alternative is to hold all that
// comes in memory.
func (r *run) receive(o output, data []byte, last bool) {
	if len(data) > 0 && !o.timers && r.awaitRoom != nil && r.awaitRoom(r.taking) != nil {
		return // the bundle is over
	}
	r.outMu.Lock()
	defer r.outMu.Unlock()
	if r.over || r.finished {
		return
	}
	r.take(o, data, last)
	r.settle()
}

// take hands a block to the bundle. outMu is held.
func (r *run) take(o output, data []byte, last bool) {
	i, ok := r.d.outputs[o]
	switch {
	case !ok:
		r.finish(fmt.Errorf("worker %s sent data of %v, which is no output of the bundle", r.w.id, o))
		return
	case r.ended[i]:
		r.finish(fmt.Errorf("worker %s sent data of %v after its end", r.w.id, o))
		return
	}
	if len(data) > 0 {
		if err := r.call(o, data); err != nil {
			r.finish(err)
			return
		}
	}
	if last {
		r.ended[i] = true
		r.open--
	}
}

func (r *run) call(o output, data []byte) (err error) {
	defer recoverTo(&err)
	if o.timers {
		return r.b.TimerOutput(o.transform, o.family, data)
	}
	return r.b.Output(o.transform, data)
}

// settle ends the bundle when all has come. outMu is held.
func (r *run) settle() {
	if r.response != nil && r.open == 0 {
		r.finish(nil)
	}
}

// recoverTo turns a panic of the bundle's callbacks into an error: it must fail
// the bundle, not the server.
func recoverTo(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("BUG: panic: %v\n%s", p, debug.Stack())
	}
}
