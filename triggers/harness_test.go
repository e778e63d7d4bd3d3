package triggers

import (
	"fmt"
	"math"
	"slices"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/internal/coders"
)

// tester is a test of package testing, or of rapid.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// harness groups the elements of one key as an engine would: it assigns and merges
// windows, buffers values, keeps states as bytes between calls, and wakes them only
// when they asked for it.
type harness struct {
	t    tester
	s    *Strategy
	win  windowing
	now  Now
	cell map[coders.IntervalWindow]*cell
	// batched has windows of a bundle merge, and their elements told of at once, or one
	// by one if apart is set. Otherwise an element is done with before the next.
	batched, apart bool
	// idle has windows merge with nothing before each element.
	idle bool

	panes   []pane
	dropped []string
}

// cell is what is kept for a window.
type cell struct {
	state  []byte
	values []int64
	// touched: elements came that Decide has not seen.
	touched bool
	wake    Wakeup
	hold    int64
}

// pane is an emitted pane.
type pane struct {
	window    coders.IntervalWindow
	timestamp int64
	pane      coders.Pane
	values    []int64
}

func (p pane) String() string {
	timing := [...]string{"early", "on-time", "late", "unknown"}[p.pane.Timing]
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s #%d,%d", windowText(p.window), timing, p.pane.Index, p.pane.NonSpeculative)
	if p.pane.First {
		b.WriteString(" first")
	}
	if p.pane.Last {
		b.WriteString(" last")
	}
	fmt.Fprintf(&b, " at %s: %s", timeText(p.timestamp), strings.Trim(fmt.Sprint(p.values), "[]"))
	return strings.TrimSpace(b.String())
}

func timeText(t int64) string {
	switch t {
	case Never:
		return "never"
	case coders.GlobalWindowMaxTimestamp:
		return "the end of the global window"
	case coders.GlobalWindowMaxTimestamp + 1:
		return "after the global window"
	case coders.MinTimestamp:
		return "the beginning"
	case coders.MaxTimestamp:
		return "the end of time"
	}
	return fmt.Sprint(t)
}

func newHarness(t tester, ws *pipepb.WindowingStrategy, win windowing) *harness {
	t.Helper()
	if win.merging {
		ws.MergeStatus = pipepb.MergeStatus_NEEDS_MERGE
	}
	s, err := Compile(ws)
	if err != nil {
		t.Fatal(err)
	}
	return &harness{
		t: t, s: s, win: win, cell: map[coders.IntervalWindow]*cell{},
		now: Now{Watermark: coders.MinTimestamp, Output: coders.MinTimestamp, Synchronized: math.MinInt64},
	}
}

func window(w coders.IntervalWindow) Window { return Window{Max: w.Max()} }

// take returns what was emitted, and what was dropped, since it was last called.
func (h *harness) take() (panes []pane, dropped []string) {
	panes, dropped = h.panes, h.dropped
	h.panes, h.dropped = nil, nil
	return panes, dropped
}

// elements brings a bundle of elements, their values being their timestamps.
func (h *harness) elements(ts ...int64) {
	if h.batched && !h.s.PerElement() {
		h.block(ts)
	} else {
		for _, v := range ts {
			for _, w := range h.open(v) {
				w = h.merge(w)[0]
				h.tell(w, 1, v+h.win.shift, v+h.win.shift, v+h.win.shift)
				if h.s.PerElement() {
					h.decide(w)
				}
			}
		}
	}
	for _, w := range h.windows() {
		if h.cell[w].touched {
			h.decide(w)
		}
	}
	h.settle()
}

// block brings elements all at once: first all windows merge, then each gets its own.
func (h *harness) block(ts []int64) {
	var arrived []coders.IntervalWindow
	var times []int64
	for _, v := range ts {
		for _, w := range h.open(v) {
			arrived, times = append(arrived, w), append(times, v+h.win.shift)
		}
	}
	groups := map[coders.IntervalWindow][]int64{}
	for i, w := range h.merge(arrived...) {
		groups[w] = append(groups[w], times[i])
		h.at(w)
	}
	for _, w := range h.windows() {
		g := groups[w]
		if len(g) == 0 {
			continue
		}
		if first, last := slices.Min(g), slices.Max(g); !h.apart && h.s.Together(first, last, h.now) {
			h.tell(w, len(g), first, last, g...)
			continue
		}
		for _, v := range g {
			h.tell(w, 1, v, v, v)
		}
	}
}

// open returns the windows of an element that have not expired.
func (h *harness) open(v int64) []coders.IntervalWindow {
	var ws []coders.IntervalWindow
	for _, w := range h.win.assign(v) {
		if h.s.Late(window(w), h.now) {
			h.drop(v, w, "late")
		} else {
			ws = append(ws, w)
		}
	}
	return ws
}

func (h *harness) drop(v int64, w coders.IntervalWindow, why string) {
	h.dropped = append(h.dropped, fmt.Sprintf("dropped %d of %s: %s", v, windowText(w), why))
}

func (h *harness) at(w coders.IntervalWindow) *cell {
	c := h.cell[w]
	if c == nil {
		c = &cell{wake: Wakeup{Never, Never, Never}, hold: Never}
		h.cell[w] = c
	}
	return c
}

// tell tells of n elements of w, with timestamps from first to last.
func (h *harness) tell(w coders.IntervalWindow, n int, first, last int64, times ...int64) {
	c := h.at(w)
	var st State
	h.read(&st, c.state)
	if h.idle && !st.Closed() {
		h.s.Merge(&st, nil, window(w), h.now)
	}
	var accepted bool
	if n == 1 {
		accepted = h.s.Element(&st, window(w), first, h.now)
	} else {
		accepted = h.s.Elements(&st, window(w), n, first, last, h.now)
	}
	if !accepted {
		for _, v := range times {
			h.drop(v-h.win.shift, w, "finished")
		}
		return
	}
	for _, v := range times {
		c.values = append(c.values, v-h.win.shift)
	}
	c.state, c.touched = h.s.AppendState(nil, &st), true
}

func (h *harness) read(st *State, b []byte) {
	h.t.Helper()
	if err := h.s.ReadState(st, b); err != nil {
		h.t.Fatal(err)
	}
	if again := h.s.AppendState(nil, st); string(again) != string(b) {
		h.t.Fatalf("the state %x reads as %x", b, again)
	}
}

// merge merges the windows there are, but those whose trigger has finished, with those
// that arrived, and returns which ones these are in then.
func (h *harness) merge(arrived ...coders.IntervalWindow) []coders.IntervalWindow {
	if !h.win.merging {
		return arrived
	}
	ws := slices.Clone(arrived)
	for _, o := range h.windows() {
		var st State
		if h.read(&st, h.cell[o].state); !st.Closed() {
			ws = append(ws, o)
		}
	}
	merged, into := MergeIntervals(ws)
	for i, result := range merged {
		var from []coders.IntervalWindow
		for j := len(arrived); j < len(ws); j++ {
			if into[j] == i && ws[j] != result {
				from = append(from, ws[j])
			}
		}
		if len(from) > 0 {
			h.mergeInto(result, from)
		}
	}
	results := make([]coders.IntervalWindow, len(arrived))
	for i := range arrived {
		results[i] = merged[into[i]]
	}
	return results
}

// mergeInto merges windows that there are into w, which there may be.
func (h *harness) mergeInto(w coders.IntervalWindow, from []coders.IntervalWindow) {
	c := h.at(w)
	var dst State
	h.read(&dst, c.state)
	if dst.Closed() && len(c.values) > 0 {
		h.t.Errorf("%s has finished, but not its buffer", windowText(w))
	}
	var states []*State
	for _, o := range from {
		st := new(State)
		h.read(st, h.cell[o].state)
		states = append(states, st)
		c.values = append(c.values, h.cell[o].values...)
		delete(h.cell, o)
	}
	h.s.Merge(&dst, states, window(w), h.now)
	for _, st := range states {
		if st.Used() {
			h.t.Errorf("a state that merged away is left over")
		}
	}
	if dst.Closed() || dst.has(0) {
		h.t.Errorf("merging into %s finished the trigger", windowText(w))
	}
	c.state, c.touched = h.s.AppendState(nil, &dst), true
}

// decide does what is to be done in w.
func (h *harness) decide(w coders.IntervalWindow) {
	c := h.cell[w]
	c.touched = false
	var st State
	h.read(&st, c.state)
	for {
		out := h.s.Decide(&st, window(w), h.now)
		if out.Fire {
			values := slices.Sorted(slices.Values(c.values))
			p := pane{w, out.Timestamp, out.Pane, values}
			if p.timestamp < h.now.Output && out.Pane.Timing != coders.Late {
				h.t.Errorf("%v is behind the output watermark %d, but not late", p, h.now.Output)
			}
			h.panes = append(h.panes, p)
		}
		if out.Discard {
			c.values = nil
		}
		if (out.Finished || st.Closed()) && len(c.values) > 0 {
			h.t.Errorf("%s has finished, but not its buffer", windowText(w))
		}
		if out.Expired {
			if st.Used() {
				h.t.Errorf("%s has expired, but not its state", windowText(w))
			}
			delete(h.cell, w)
			return
		}
		if !out.Fire {
			break
		}
	}
	c.state = h.s.AppendState(nil, &st)
	// What was decided stays so.
	if out := h.s.Decide(&st, window(w), h.now); out.Fire || string(h.s.AppendState(nil, &st)) != string(c.state) {
		h.t.Errorf("%s: decided twice, the second time %+v", windowText(w), out)
	}
	c.wake, c.hold = h.s.Wake(&st, window(w)), h.s.Hold(&st, window(w))
	if c.wake.Watermark <= h.now.Watermark || c.wake.Processing <= h.now.Processing || c.wake.Synchronized <= h.now.Synchronized {
		h.t.Errorf("%s: wakes at %+v, which is not after %+v", windowText(w), c.wake, h.now)
	}
}

// windows returns the windows there are, in order.
func (h *harness) windows() []coders.IntervalWindow {
	ws := make([]coders.IntervalWindow, 0, len(h.cell))
	for w := range h.cell {
		ws = append(ws, w)
	}
	slices.SortFunc(ws, func(a, b coders.IntervalWindow) int {
		if a.Start != b.Start {
			return int(min(max(a.Start-b.Start, -1), 1))
		}
		return int(min(max(a.End-b.End, -1), 1))
	})
	return ws
}

// advance moves the clocks, and wakes who asked for it. The others must not care.
func (h *harness) advance(now Now) {
	h.now.Watermark = max(h.now.Watermark, now.Watermark)
	h.now.Processing = max(h.now.Processing, now.Processing)
	h.now.Synchronized = max(h.now.Synchronized, now.Synchronized)
	for _, w := range h.windows() {
		c := h.cell[w]
		if c.wake.Watermark <= h.now.Watermark || c.wake.Processing <= h.now.Processing ||
			c.wake.Synchronized <= h.now.Synchronized {
			h.decide(w)
			continue
		}
		var st State
		h.read(&st, c.state)
		if out := h.s.Decide(&st, window(w), h.now); out.Fire || out.Expired || string(h.s.AppendState(nil, &st)) != string(c.state) {
			h.t.Errorf("%s, not awake: decided %+v", windowText(w), out)
		}
	}
	h.settle()
}

// settle moves the output watermark to where the holds let it.
func (h *harness) settle() {
	out := h.now.Watermark
	for _, c := range h.cell {
		out = min(out, c.hold)
	}
	if out < h.now.Output {
		h.t.Errorf("the hold moved back from %d to %d", h.now.Output, out)
	}
	h.now.Output = max(h.now.Output, out)
	for _, p := range h.panes {
		if p.timestamp > p.window.Max()+h.win.shift {
			h.t.Errorf("the timestamp of %v is not in its window", p)
		}
	}
}
