package alone

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec"
)

// Replay executes all bundles again, as many at once as there are processors,
// and checks that the SDK reads as many elements as in the recorded run.
func (r *Recording) Replay(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			plans := map[string]*exec.Plan{}
			for {
				i := int(next.Add(1)) - 1
				if i >= len(r.bundles) || ctx.Err() != nil {
					return
				}
				if err := r.execute(ctx, plans, &r.bundles[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// execute runs a bundle on the goroutine's plan of its descriptor.
func (r *Recording) execute(ctx context.Context, plans map[string]*exec.Plan, b *bundle) error {
	p := plans[b.descriptor.GetId()]
	if p == nil {
		var err error
		if p, err = exec.UnmarshalPlan(b.descriptor, nil); err != nil {
			return err
		}
		plans[b.descriptor.GetId()] = p
	}
	ctx = metrics.SetBundleID(ctx, b.id)
	data := exec.DataContext{Data: &streams{b: b}, State: &state{r: r, bags: map[string][]byte{}}}
	if err := p.Execute(ctx, b.id, data); err != nil {
		return err
	}
	if snap, _ := p.Progress(); snap.Source.Count != b.elements {
		return fmt.Errorf("%s has read %d elements of %d", b.descriptor.GetId(), snap.Source.Count, b.elements)
	}
	return nil
}
