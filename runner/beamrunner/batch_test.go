package beamrunner

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.Function2x0(spread)
	register.Function3x0(patient)
	register.Emitter2[string, int64]()
}

// spreads counts calls of spread; sums those of patient, which stands still while it waits.
var (
	spreads, sums, begun atomic.Int64
	waits                atomic.Bool
)

func spread(n int64, emit func(string, int64)) {
	spreads.Add(1)
	for i := range n {
		emit(string('a'+rune(i%3)), i)
	}
}

func patient(ctx context.Context, _ string, values func(*int64) bool) {
	begun.Add(1)
	if waits.Load() {
		<-ctx.Done()
		return
	}
	for v := int64(0); values(&v); {
		sums.Add(v)
	}
}

// TestABatchJobGoesOnEmbedded: a program is ended in its job's last stage; started again it runs that one
// alone. A job without a name begins anew.
func TestABatchJobGoesOnEmbedded(t *testing.T) {
	for _, name := range []string{"spread", ""} {
		set(t, dataDir, t.TempDir())
		set(t, jobopts.JobName, name)
		build := func() *beam.Pipeline {
			p, s := beam.NewPipelineWithRoot()
			beam.ParDo0(s, patient, beam.GroupByKey(s, beam.ParDo(s, spread, beam.Create(s, int64(1000)))))
			return p
		}
		spreads.Store(0)
		begun.Store(0)
		sums.Store(0)
		waits.Store(true)
		ended, cancel := start(t, build())
		await(t, ended, "last stage", func() bool { return begun.Load() > 0 })
		cancel()
		awaitCanceled(t, ended)
		waits.Store(false)
		if _, err := Execute(t.Context(), build()); err != nil {
			t.Fatal(err)
		}
		want := int64(2)
		if name != "" {
			want = 1
		}
		if n := spreads.Load(); n != want {
			t.Errorf("job %q: the first stage has run %d times, want %d", name, n, want)
		}
		if n := sums.Load(); n != 999*1000/2 {
			t.Errorf("job %q: the sum is %d", name, n)
		}
	}
}
