package beamrunner

import (
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/teststream"
)

func init() {
	register.Combiner3[sum, int64, int64](&sumFn{})
	register.Function2x1(total)
}

// sum is an accumulator of its own type, which the runner can't read.
type sum struct{ N int64 }

type sumFn struct{}

func (*sumFn) CreateAccumulator() sum         { return sum{} }
func (*sumFn) AddInput(a sum, v int64) sum    { return sum{a.N + v} }
func (*sumFn) ExtractOutput(a sum) int64      { return a.N }
func (*sumFn) MergeAccumulators(a, b sum) sum { return sum{a.N + b.N} }
func total(_ string, n int64) int64           { return n }

// TestLongWindowIsCombined: what comes over many bundles into an open window is merged
// by the SDK meanwhile, and its result is that of all.
func TestLongWindowIsCombined(t *testing.T) {
	con := teststream.NewConfig()
	var want int64
	for i := range int64(50) {
		con.AddElements(1000+i, i)
		con.AdvanceWatermark(1000 + i) // an event of its own, so a bundle of its own
		want += i
	}
	con.AdvanceWatermarkToInfinity()
	p, s := beam.NewPipelineWithRoot()
	in := beam.ParDo(s, keyed, teststream.Create(s, con))
	sums := beam.CombinePerKey(s, &sumFn{}, beam.WindowInto(s, window.NewFixedWindows(10*time.Second), in))
	global := beam.WindowInto(s, window.NewGlobalWindows(), beam.ParDo(s, total, sums))
	passert.Equals(s, global, want)
	if _, err := Execute(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}
