package inproc

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// askWait is how long a question waits for the one before it.
const askWait = time.Second

// question runs f on the running plan, in a goroutine of its own: the plan's
// source is locked while FinishBundle runs, and a split calls the user's
// restriction tracker, so f may take any time. It says no if the plan can't be
// asked now. lost is called with an answer that nobody waits for any more, before the
// bundle can end.
func question[T any](ctx context.Context, r *bundleRun, f func(p *plan) (T, error), lost func(T, error)) (T, error) {
	var none T
	if !r.opened.Load() {
		// Before its source is started, a reused plan still has the last bundle's
		// counts, and a split would be undone by the start, yet reported as done.
		return none, nil
	}
	timer := time.NewTimer(askWait)
	defer timer.Stop()
	select {
	case r.ask <- struct{}{}:
	case <-timer.C:
		return none, nil
	case <-r.done:
		return none, nil
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	type answer struct {
		v   T
		err error
	}
	ch := make(chan answer, 1)
	var over atomic.Bool // either answered or not waited for any more
	go func() {
		a := answer{err: errGoexit}
		defer func() {
			if p := recover(); p != nil {
				a.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
			if !over.CompareAndSwap(false, true) {
				lost(a.v, a.err)
			}
			<-r.ask
			ch <- a
		}()
		a.v, a.err = f(r.live)
	}()
	select {
	case a := <-ch:
		return a.v, a.err
	case <-ctx.Done():
		if over.CompareAndSwap(false, true) {
			return none, context.Cause(ctx)
		}
		a := <-ch
		return a.v, a.err
	}
}

func (r *bundleRun) progress(ctx context.Context) ([]*pipepb.MonitoringInfo, error) {
	return question(ctx, r, func(p *plan) ([]*pipepb.MonitoringInfo, error) {
		return p.collect(r.store, nil), nil
	}, func([]*pipepb.MonitoringInfo, error) {})
}

// split splits the bundle while its source is at an element. While it waits for
// input there is none to split at, and a source with a splittable DoFn behind it
// would wait half a second for one, with itself locked.
func (r *bundleRun) split(ctx context.Context, fraction float64, elements int64) (*fnpb.ProcessBundleSplitResponse, error) {
	return question(ctx, r, func(p *plan) (*fnpb.ProcessBundleSplitResponse, error) {
		if snap, ok := p.Progress(); !ok || !snap.Source.ConsumingReceivedData {
			return nil, nil
		}
		sr, err := p.Split(r.ctx, exec.SplitPoints{Frac: fraction, BufSize: elements})
		if err != nil {
			return nil, fmt.Errorf("splitting a bundle of stage %s: %w", r.b.Stage, err)
		}
		if sr.Unsuccessful || !splitsOff(sr, elements, r.residual) {
			return nil, nil
		}
		r.residual = sr.RI
		return splitResponse(p.SourcePTransformID(), sr), nil
	}, func(resp *fnpb.ProcessBundleSplitResponse, err error) {
		// What was split off is known to nobody. The bundle would end well without it.
		if resp != nil || err != nil {
			r.cancel(fmt.Errorf("stage %s: a split came too late for the one who asked for it", r.b.Stage))
		}
	})
}

// splitsOff says whether a split has made the bundle smaller than it was; residual
// is the first element split off before, or -1.
//
// It needn't have: when the source has done its last element and has not yet
// seen the end of its input, the SDK answers a split with success and the
// element behind the one it stops at. Taken at its word, that element would be
// the bundle's, which has left it out already, and nobody else's.
func splitsOff(sr exec.SplitResult, elements, residual int64) bool {
	end := elements
	if residual >= 0 {
		end = min(end, residual)
	}
	return sr.RI < end || sr.RI == end && len(sr.RS) > 0
}

func splitResponse(source string, sr exec.SplitResult) *fnpb.ProcessBundleSplitResponse {
	resp := &fnpb.ProcessBundleSplitResponse{
		ChannelSplits: []*fnpb.ProcessBundleSplitResponse_ChannelSplit{{
			TransformId:          source,
			LastPrimaryElement:   sr.PI,
			FirstResidualElement: sr.RI,
		}},
	}
	if len(sr.PS) == 0 || len(sr.RS) == 0 {
		return resp
	}
	for _, el := range sr.PS {
		resp.PrimaryRoots = append(resp.PrimaryRoots, &fnpb.BundleApplication{TransformId: sr.TId, InputId: sr.InId, Element: el})
	}
	for _, el := range sr.RS {
		resp.ResidualRoots = append(resp.ResidualRoots, &fnpb.DelayedBundleApplication{Application: &fnpb.BundleApplication{
			TransformId: sr.TId, InputId: sr.InId, Element: el, OutputWatermarks: sr.OW,
		}})
	}
	return resp
}
