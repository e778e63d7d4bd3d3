package metamorphic

import (
	"fmt"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"pgregory.net/rapid"
)

// program is a drawn pipeline and its input: a TestStream, a WindowInto, perhaps a stateful
// DoFn, one or two groupings.
type program struct {
	windows   windowing
	lateness  int64
	stateful  *stateful // nil: none
	keep      bool      // a DoFn that waits for windows to expire, see keeping_test.go
	groupings []*grouping
	events    []event
}

// grouping is a GroupByKey, or a CombinePerKey that sums up, with the rest of its windowing
// strategy.
type grouping struct {
	combine bool
	trigger *trigger
	mode    pipepb.AccumulationMode_Enum
	output  pipepb.OutputTime_Enum
	closing pipepb.ClosingBehavior_Enum
	onTime  pipepb.OnTimeBehavior_Enum
}

func (g *grouping) String() string {
	name := "group"
	if g.combine {
		name = "combine"
	}
	return fmt.Sprintf("%s %v, %v, %v, %v, %v", name, g.trigger, g.mode, g.output, g.closing, g.onTime)
}

// event is one of a TestStream: elements, or else a watermark, or else a move of the
// processing time. All times are in ms.
type event struct {
	elements   []element
	watermark  int64
	processing int64
}

type element struct {
	at int64
	// value is unique in its program, and says its key.
	value int64
}

const keys = 3

func keyOf(value int64) string { return string(rune('a' + value%keys)) }

// windowing is a WindowFn: fixed, sliding, sessions or global; or one that the Go SDK doesn't
// have, see custom_test.go.
type windowing struct {
	kind string
	size int64
	// period of sliding windows.
	period int64
}

// window is an interval of event time; end is not in it.
type window struct{ start, end int64 }

// The global window as the Go SDK shows it: it has no bounds.
var global = window{}

// max is the last moment of a window.
func (w window) max() int64 {
	if w == global {
		return mtime.EndOfGlobalWindowTime.Milliseconds()
	}
	return w.end - 1
}

func (w window) String() string {
	if w == global {
		return "global"
	}
	return fmt.Sprintf("[%d,%d)", w.start, w.end)
}

// assign returns the windows of an element. Times are not negative.
func (f windowing) assign(at int64) []window {
	switch f.kind {
	case "fixed":
		return []window{{at / f.size * f.size, at/f.size*f.size + f.size}}
	case "sessions", "overlap":
		return []window{{at, at + f.size}}
	case "steps":
		return []window{{at / 10 * 10, at/10*10 + 10 + at/10%2*5}}
	case "blocks":
		return []window{{at, min(at+3, at/blockSize*blockSize+blockSize)}}
	case "sliding":
		var ws []window
		for start := at / f.period * f.period; start > at-f.size; start -= f.period {
			ws = append(ws, window{start, start + f.size})
		}
		return ws
	}
	return []window{global}
}

func (f windowing) merging() bool {
	return f.kind == "sessions" || f.kind == "overlap" || f.kind == "blocks"
}

// blockSize is how long the windows of "blocks" get: all that begin in a block of time become
// one with the block's bounds, once there are two.
const blockSize = 10

func drawWindowing(t *rapid.T, kinds ...string) windowing {
	f := windowing{kind: rapid.SampledFrom(kinds).Draw(t, "windows")}
	switch f.kind {
	case "fixed":
		f.size = rapid.SampledFrom([]int64{5, 10}).Draw(t, "size")
	case "sliding":
		f.period = rapid.SampledFrom([]int64{4, 5}).Draw(t, "period")
		f.size = f.period * rapid.Int64Range(1, 3).Draw(t, "periods")
	case "sessions", "overlap":
		f.size = rapid.SampledFrom([]int64{3, 7}).Draw(t, "gap")
	}
	return f
}

func drawProgram(t *rapid.T, windows ...string) *program {
	p := &program{
		windows:   drawWindowing(t, windows...),
		lateness:  rapid.SampledFrom([]int64{0, 4, 20}).Draw(t, "lateness"),
		groupings: []*grouping{drawGrouping(t)},
	}
	if rapid.Bool().Draw(t, "chained") {
		// As SDKs write it: a grouping behind another goes on with the continuation of its
		// trigger. Beam's model asks for that only, and any other will do.
		next := *p.groupings[0]
		if next.trigger = next.trigger.continuation(); rapid.IntRange(0, 3).Draw(t, "anew") == 0 {
			next = *drawGrouping(t)
		}
		p.groupings = append(p.groupings, &next)
	}
	switch {
	case p.windows.merging() || rapid.Bool().Draw(t, "stateless"):
	case p.windows.kind == "steps":
		p.keep = true
	default:
		p.stateful = drawStateful(t, p.windows)
	}
	if len(p.groupings) > 1 {
		p.settleChain()
	}
	p.events = drawEvents(t, p)
	return p
}

// settleChain takes out of a chain of groupings what the model leaves open: how far the
// watermark has got when something comes to the second grouping that was not held, because
// it was late for the first, or came of one window while another, of another key, still
// holds the watermark.
func (p *program) settleChain() {
	first, second := p.groupings[0], p.groupings[1]
	switch {
	case p.windows.merging():
		// Which windows are still there to merge with is open too. So the first grouping
		// sends on each window once, and none that overlaps with one sent before.
		first.trigger, first.output, p.lateness = &trigger{kind: "default"}, pipepb.OutputTime_END_OF_WINDOW, 0
	case p.stateful != nil || p.keep || first.trigger.kind != "default" && first.trigger.kind != "end of window":
		p.lateness = 0
	case p.lateness > 0: // nothing holds the watermark behind the end of a window
		first.output, second.output = pipepb.OutputTime_END_OF_WINDOW, pipepb.OutputTime_END_OF_WINDOW
	}
}

func drawGrouping(t *rapid.T) *grouping {
	return &grouping{
		combine: rapid.Bool().Draw(t, "combine"),
		trigger: drawTrigger(t, 3),
		mode:    pipepb.AccumulationMode_Enum(rapid.Int32Range(1, 2).Draw(t, "mode")),
		output:  pipepb.OutputTime_Enum(rapid.Int32Range(1, 3).Draw(t, "output")),
		closing: pipepb.ClosingBehavior_Enum(rapid.Int32Range(1, 2).Draw(t, "closing")),
		onTime:  pipepb.OnTimeBehavior_Enum(rapid.Int32Range(1, 2).Draw(t, "on time")),
	}
}

// drawEvents draws a script that has one right outcome. What the model leaves open is in
// how many steps elements come to a grouping that arrive together, and in which order. So
// together come only elements that fire nothing by themselves and go to no stateful DoFn;
// others come one by one, and between two events of a TestStream everything comes to rest.
func drawEvents(t *rapid.T, p *program) []event {
	var events []event
	values, watermark := int64(0), int64(0)
	draw := func(from int64) element {
		values++
		at, op := rapid.Int64Range(from, 40).Draw(t, "at"), rapid.Int64Range(0, ops-1).Draw(t, "op")
		if at < watermark {
			op = 0 // that sets no timers, for they would be late
		}
		return element{at: at, value: (values*ops+op)*keys + rapid.Int64Range(0, keys-1).Draw(t, "key")}
	}
	for range rapid.IntRange(1, 12).Draw(t, "events") {
		switch k := rapid.IntRange(0, 9).Draw(t, "event"); {
		case k < 4:
			events = append(events, event{elements: []element{draw(0)}})
		case k < 6 && p.stateful == nil && !p.keep && !p.groupings[0].trigger.eager() && watermark <= 40:
			var es []element
			for range rapid.IntRange(1, 6).Draw(t, "together") {
				es = append(es, draw(watermark))
			}
			events = append(events, event{elements: es})
		case k < 8:
			watermark += rapid.Int64Range(1, 20).Draw(t, "by")
			events = append(events, event{watermark: watermark})
		default:
			events = append(events, event{processing: rapid.Int64Range(1, 6).Draw(t, "passes")})
		}
	}
	return events
}

func (p *program) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v, lateness %d", p.windows, p.lateness)
	if p.keep {
		b.WriteString("\n  keep until windows expire")
	}
	if p.stateful != nil {
		fmt.Fprintf(&b, "\n  stateful %+v", *p.stateful)
	}
	for _, g := range p.groupings {
		fmt.Fprintf(&b, "\n  %v", g)
	}
	for _, e := range p.events {
		fmt.Fprintf(&b, "\n  %v", e)
	}
	return b.String()
}

func (e event) String() string {
	switch {
	case e.elements != nil:
		var b strings.Builder
		b.WriteString("elements")
		for _, x := range e.elements {
			fmt.Fprintf(&b, " %s%d@%d", keyOf(x.value), x.value, x.at)
		}
		return b.String()
	case e.processing > 0:
		return fmt.Sprintf("processing time +%d", e.processing)
	}
	return fmt.Sprintf("watermark %d", e.watermark)
}
