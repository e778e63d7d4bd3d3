package beamrunner

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.Function2x3(grumble)
	register.Function2x0(sized)
}

var content atomic.Bool

// grumble fails with one number until it is content.
func grumble(k string, n int64) (string, int64, error) {
	if n == 300 && !content.Load() {
		return "", 0, errors.New("not 300 again")
	}
	return k, n, nil
}

// firstSize is how many values the first window had that came.
var firstSize atomic.Int64

func sized(_ string, values func(*int64) bool) {
	n := int64(0)
	for v := int64(0); values(&v); {
		n++
	}
	firstSize.CompareAndSwap(0, n)
}

// TestPauseEmbedded: the program ends and says why; started again it goes on, with the
// element that it could not process.
func TestPauseEmbedded(t *testing.T) {
	set(t, dataDir, t.TempDir())
	set(t, jobopts.JobName, "grumbling")
	setFlag(t, "summerbeam_checkpoint_after", "50ms")
	setFlag(t, "summerbeam_on_poison", "pause")
	build := func() *beam.Pipeline {
		p, s := beam.NewPipelineWithRoot()
		made := beam.ParDo(s, grumble, beam.ParDo(s, &endless{Parts: 1}, beam.Impulse(s)))
		beam.ParDo0(s, sized, beam.GroupByKey(s, beam.WindowInto(s, window.NewFixedWindows(60e9), made)))
		return p
	}
	content.Store(false)
	_, err := Execute(t.Context(), build())
	if err == nil || !strings.Contains(err.Error(), "paused") || !strings.Contains(err.Error(), "not 300 again") || !strings.Contains(err.Error(), "--job_name=grumbling") {
		t.Fatalf("got %v, want to hear that it pauses and why", err)
	}
	content.Store(true)
	firstSize.Store(0)
	ended, cancel := start(t, build())
	await(t, ended, "output", func() bool { return firstSize.Load() > 0 })
	cancel()
	awaitCanceled(t, ended)
	if n := firstSize.Load(); n != 600 {
		t.Errorf("the first window has %d elements, want 600: those before the pause too", n)
	}
}
