package beamrunner

import (
	"context"
	"errors"
	"flag"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	beam.RegisterDoFn(&endless{})
	register.Emitter3[beam.EventTime, string, int64]()
	register.Function2x0(seen)
	register.Function1x0(touch)
}

// lockedEstimator is a watermark that its DoFn sets. The SDK's own has no lock, and a
// bundle that is split reads it while the DoFn writes.
type lockedEstimator struct {
	millisMu sync.Mutex
	millis   int64
}

func (e *lockedEstimator) CurrentWatermark() time.Time {
	e.millisMu.Lock()
	defer e.millisMu.Unlock()
	return time.UnixMilli(e.millis)
}

func (e *lockedEstimator) advance(millis int64) {
	e.millisMu.Lock()
	defer e.millisMu.Unlock()
	e.millis = millis
}

// endless is a source that never returns by itself: it goes on as long as it may
// claim. It makes ten elements for each second of event time.
type endless struct {
	// Parts is the number of restrictions.
	Parts int64
}

func (*endless) CreateInitialRestriction([]byte) offsetrange.Restriction {
	return offsetrange.Restriction{End: math.MaxInt64 / 2}
}

func (f *endless) SplitRestriction(_ []byte, r offsetrange.Restriction) (out []offsetrange.Restriction) {
	for range max(1, f.Parts) {
		out = append(out, r)
	}
	return out
}

func (*endless) RestrictionSize(_ []byte, r offsetrange.Restriction) float64 { return r.Size() }

func (*endless) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

func (*endless) InitialWatermarkEstimatorState(beam.EventTime, offsetrange.Restriction, []byte) int64 {
	return math.MinInt64 / 1000
}

func (*endless) CreateWatermarkEstimator(ms int64) *lockedEstimator {
	return &lockedEstimator{millis: ms}
}

func (*endless) WatermarkEstimatorState(e *lockedEstimator) int64 {
	return e.CurrentWatermark().UnixMilli()
}

// TruncateRestriction lets a drained source go on to the end of its minute.
func (*endless) TruncateRestriction(rt *sdf.LockRTracker, _ []byte) offsetrange.Restriction {
	r := rt.GetRestriction().(offsetrange.Restriction)
	r.End = (r.Start/600 + 1) * 600
	return r
}

func (*endless) ProcessElement(we *lockedEstimator, rt *sdf.LockRTracker, _ []byte, emit func(beam.EventTime, string, int64)) sdf.ProcessContinuation {
	for i := rt.GetRestriction().(offsetrange.Restriction).Start; rt.TryClaim(i); i++ {
		emit(beam.EventTime(i*100), "key", i)
		we.advance(i * 100)
		time.Sleep(200 * time.Microsecond)
	}
	return sdf.StopProcessing()
}

// windows and elements are what has come out of the pipeline.
var windows, elements atomic.Int64

func seen(_ string, values func(*int64) bool) {
	windows.Add(1)
	for v := int64(0); values(&v); {
		elements.Add(1)
	}
}

func endlessPipeline(parts int64) *beam.Pipeline {
	windows.Store(0)
	elements.Store(0)
	p, s := beam.NewPipelineWithRoot()
	made := beam.ParDo(s, &endless{Parts: parts}, beam.Impulse(s))
	beam.ParDo0(s, seen, beam.GroupByKey(s, beam.WindowInto(s, window.NewFixedWindows(time.Minute), made)))
	return p
}

// setFlag sets a flag as the command line does, for the test.
func setFlag(t *testing.T, name, value string) {
	t.Helper()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		flag.Set(name, "")
		// Running a pipeline has made an option of it, for good.
		beam.PipelineOptions.Set(name, "")
	})
}

// start runs a pipeline until the test or cancel ends it.
func start(t *testing.T, p *beam.Pipeline) (ended <-chan error, cancel func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ch := make(chan error, 1)
	go func() {
		_, err := Execute(ctx, p)
		ch <- err
	}()
	return ch, cancel
}

// await waits until a running job has done something.
func await(t *testing.T, ended <-chan error, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("there is no %s", what)
		}
		select {
		case err := <-ended:
			t.Fatalf("the job has ended: %v", err)
		default:
		}
	}
}

func awaitCanceled(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a cancelled job goes on")
	}
}

// TestEndlessSource: windows come out while a source runs that never stops.
func TestEndlessSource(t *testing.T) {
	setFlag(t, "summerbeam_checkpoint_after", "50ms")
	ended, cancel := start(t, endlessPipeline(3))
	await(t, ended, "output", func() bool { return windows.Load() >= 3 })
	cancel()
	awaitCanceled(t, ended)
}

// TestSourcesDontStarveOthers: more sources than slots, and none of them gives up its
// own; another part of the pipeline runs all the same.
func TestSourcesDontStarveOthers(t *testing.T) {
	setFlag(t, "summerbeam_checkpoint_after", "1h")
	setFlag(t, "summerbeam_slots", "1")
	p := endlessPipeline(5)
	touched.Store(0)
	beam.ParDo0(p.Root(), touch, beam.Reshuffle(p.Root(), beam.Create(p.Root(), 1, 2, 3)))
	ended, cancel := start(t, p)
	await(t, ended, "other output", func() bool { return touched.Load() == 3 })
	cancel()
	awaitCanceled(t, ended)
}

// TestDrainEndlessSource: a drained source does what its truncation leaves it, here
// the rest of its minute, and the job ends with all that came out of it.
func TestDrainEndlessSource(t *testing.T) {
	set(t, drainAfter, 500*time.Millisecond)
	ended, cancel := start(t, endlessPipeline(3))
	defer cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the job goes on")
	}
	n := elements.Load()
	if n == 0 || n%600 != 0 {
		t.Errorf("%d elements in %d windows, want 600 of each source in each", n, windows.Load())
	}
}

var touched atomic.Int64

func touch(int) { touched.Add(1) }
