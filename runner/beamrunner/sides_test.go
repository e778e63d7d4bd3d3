package beamrunner

import (
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window/trigger"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.Function2x0(atMinute)
	register.Emitter2[beam.EventTime, int]()
	register.Function2x0(lookAround)
	register.Iter1[int64]()
	register.Function2x1(valueOf)
}

// atMinute gives numbers times.
func atMinute(minute int, emit func(beam.EventTime, int)) {
	emit(beam.EventTime(minute*60_000+7), minute)
}

func valueOf(_ string, n int64) int64 { return n }

// looked is how many elements of the side input each main element has seen.
var looked struct {
	countsMu sync.Mutex
	counts   map[int]int
}

func lookAround(minute int, side func(*int64) bool) {
	n := 0
	for v := int64(0); side(&v); {
		n++
	}
	looked.countsMu.Lock()
	defer looked.countsMu.Unlock()
	looked.counts[minute] = n
}

// sidePipeline has few elements look at a source that never ends.
func sidePipeline(windows *window.Fn, opts ...beam.WindowIntoOption) *beam.Pipeline {
	looked.counts = make(map[int]int)
	p, s := beam.NewPipelineWithRoot()
	made := beam.ParDo(s, valueOf, beam.ParDo(s, &endless{Parts: 2}, beam.Impulse(s)))
	side := beam.WindowInto(s, windows, made, opts...)
	main := beam.WindowInto(s, window.NewFixedWindows(time.Minute), beam.ParDo(s, atMinute, beam.Create(s, 0, 1, 2)))
	beam.ParDo0(s, lookAround, main, beam.SideInput{Input: side})
	return p
}

func lookedSoFar() map[int]int {
	looked.countsMu.Lock()
	defer looked.countsMu.Unlock()
	return maps.Clone(looked.counts)
}

// TestWindowOfEndlessSideInput: an element waits for its window of a side input, and
// sees all of that, while the side input goes on for ever.
func TestWindowOfEndlessSideInput(t *testing.T) {
	for _, test := range []struct {
		name    string
		windows *window.Fn
		// minutes of the side input that each minute sees.
		want [3]int
	}{
		{"fixed", window.NewFixedWindows(time.Minute), [3]int{1, 1, 1}},
		{"wider", window.NewFixedWindows(2 * time.Minute), [3]int{2, 2, 2}},
		// The SDK maps to the window that ends first; the source begins at 0.
		{"sliding", window.NewSlidingWindows(time.Minute, 3*time.Minute), [3]int{1, 2, 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			setFlag(t, "summerbeam_checkpoint_after", "50ms")
			ended, cancel := start(t, sidePipeline(test.windows))
			await(t, ended, "lookup", func() bool { return len(lookedSoFar()) == 3 })
			cancel()
			awaitCanceled(t, ended)
			for minute, n := range lookedSoFar() {
				if want := 2 * 600 * test.want[minute]; n != want {
					t.Errorf("minute %d has seen %d elements of its window, want %d", minute, n, want)
				}
			}
		})
	}
}

// TestTriggeredSideInput: with a trigger a side input can be looked up as soon as
// there is something, in a window that never ends, too.
func TestTriggeredSideInput(t *testing.T) {
	setFlag(t, "summerbeam_checkpoint_after", "50ms")
	ended, cancel := start(t, sidePipeline(window.NewGlobalWindows(),
		beam.Trigger(trigger.Repeat(trigger.AfterCount(1))), beam.PanesDiscard()))
	await(t, ended, "lookup", func() bool { return len(lookedSoFar()) == 3 })
	cancel()
	awaitCanceled(t, ended)
	for minute, n := range lookedSoFar() {
		if n == 0 {
			t.Errorf("minute %d has seen nothing", minute)
		}
	}
}
