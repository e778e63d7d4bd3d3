package beamrunner

import (
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/teststream"

	"github.com/summerbeam/summerbeam/runner/engine"
)

func init() {
	register.Function1x2(keyed)
}

func keyed(v int64) (string, int64) { return "key", v }

// TestLateElementsAreCounted among the job's counters, under the grouping's name.
func TestLateElementsAreCounted(t *testing.T) {
	con := teststream.NewConfig()
	con.AddElements(1000, int64(1))
	con.AdvanceWatermark(60_000)
	con.AddElements(2000, int64(2), int64(3))
	con.AddElements(70_000, int64(4))
	con.AdvanceWatermarkToInfinity()
	windows.Store(0)
	elements.Store(0)
	p, s := beam.NewPipelineWithRoot()
	in := beam.ParDo(s, keyed, teststream.Create(s, con))
	beam.ParDo0(s, seen, beam.GroupByKey(s, beam.WindowInto(s, window.NewFixedWindows(10*time.Second), in)))
	res, err := Execute(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if windows.Load() != 2 || elements.Load() != 2 {
		t.Errorf("%d windows with %d elements, want 2 with 2", windows.Load(), elements.Load())
	}
	var late int64
	for _, c := range res.Metrics().AllMetrics().Counters() {
		if c.Key.Namespace == engine.LateNamespace && c.Key.Name == engine.LateName {
			late += c.Committed
		}
	}
	if late != 2 {
		t.Errorf("%d late elements counted, want 2", late)
	}
}
