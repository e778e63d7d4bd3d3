package beamrunner

import (
	"context"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"

	"github.com/summerbeam/summerbeam/runner"
)

func init() {
	register.DoFn3x0[*sdf.LockRTracker, int64, func(int)](&countSteps{})
	register.Emitter1[int]()
}

// countSteps emits the numbers below its element, slowly.
type countSteps struct{}

const stepTime = time.Millisecond

// stepsAtOnce and mostAtOnce count the elements that are worked on at one time.
var stepsAtOnce, mostAtOnce atomic.Int64

func (*countSteps) CreateInitialRestriction(n int64) offsetrange.Restriction {
	return offsetrange.Restriction{Start: 0, End: n}
}

func (*countSteps) SplitRestriction(_ int64, r offsetrange.Restriction) []offsetrange.Restriction {
	return []offsetrange.Restriction{r}
}

func (*countSteps) RestrictionSize(_ int64, r offsetrange.Restriction) float64 { return r.Size() }

func (*countSteps) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

func (*countSteps) ProcessElement(rt *sdf.LockRTracker, _ int64, emit func(int)) {
	n := stepsAtOnce.Add(1)
	defer stepsAtOnce.Add(-1)
	for {
		if old := mostAtOnce.Load(); n <= old || mostAtOnce.CompareAndSwap(old, n) {
			break
		}
	}
	for i := rt.GetRestriction().(offsetrange.Restriction).Start; rt.TryClaim(i); i++ {
		time.Sleep(stepTime)
		emit(int(i))
	}
}

// TestAStraggler: of a hundred elements one takes nearly all the time. It is cut up
// while it runs, so all slots share it, and every step is still done once.
func TestAStraggler(t *testing.T) {
	const steps = 3000
	run := func(t *testing.T) {
		p, s := beam.NewPipelineWithRoot()
		elements := make([]any, 100)
		sum := int64(steps) * (steps - 1) / 2
		for i := range elements {
			elements[i] = int64(1)
		}
		elements[13] = int64(steps)
		numbers := beam.ParDo(s, &countSteps{}, beam.Reshuffle(s, beam.Create(s, elements...)))
		passert.Sum(s, numbers, "steps", 99+steps, int(sum))
		mostAtOnce.Store(0)
		start := time.Now()
		if _, err := execute(t, p); err != nil {
			t.Fatal(err)
		}
		alone := steps * stepTime
		took := time.Since(start)
		t.Logf("%v, alone it is %v, up to %d at once", took, alone, mostAtOnce.Load())
		// The least of it is that two slots share; there are twice as many as processors.
		if took > alone*7/10 || mostAtOnce.Load() < int64(min(4, 2*runtime.GOMAXPROCS(0))) {
			t.Errorf("took %v of the %v that it needs alone; %d ran at once", took, alone, mostAtOnce.Load())
		}
	}
	t.Run("embedded", run)
	t.Run("served", func(t *testing.T) {
		set(t, jobopts.Endpoint, serve(t))
		run(t)
	})
}

// serve starts a server in this process and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	srv, err := runner.Open(runner.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}
