package triggers

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/internal/coders"
)

// harness groups the elements of one key as an engine would: it assigns and merges
// windows, buffers values, keeps states as bytes between calls, and wakes them only
// when they asked for it.
type harness struct {
	t    testing.TB
	s    *Strategy
	win  windowing
	now  Now
	cell map[coders.IntervalWindow]*cell
	// batched has elements told of at once rather than one by one.
	batched bool

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

func newHarness(t testing.TB, ws *pipepb.WindowingStrategy, win windowing) *harness {
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
	type group struct {
		n           int
		first, last int64
	}
	groups := map[coders.IntervalWindow]*group{}
	var order []coders.IntervalWindow
	for _, v := range ts {
		for _, w := range h.win.assign(v) {
			if h.s.Late(window(w), h.now) {
				h.drop(v, w, "late")
				continue
			}
			w = h.merge(w)
			if !h.batched {
				h.tell(w, 1, v+h.win.shift, v+h.win.shift, v)
				if h.s.PerElement() {
					h.decide(w)
				}
				continue
			}
			c := h.at(w)
			c.values = append(c.values, v)
			g := groups[w]
			if g == nil {
				g = &group{first: math.MaxInt64, last: math.MinInt64}
				groups[w] = g
				order = append(order, w)
			}
			g.n++
			g.first, g.last = min(g.first, v), max(g.last, v)
		}
	}
	for _, w := range order {
		g := groups[w]
		h.tell(w, g.n, g.first, g.last)
	}
	for _, w := range h.windows() {
		if h.cell[w].touched {
			h.decide(w)
		}
	}
	h.settle()
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

// tell tells of n elements of w.
func (h *harness) tell(w coders.IntervalWindow, n int, first, last int64, values ...int64) {
	c := h.at(w)
	var st State
	h.read(&st, c.state)
	var accepted bool
	if n == 1 {
		accepted = h.s.Element(&st, window(w), first, h.now)
	} else {
		accepted = h.s.Elements(&st, window(w), n, first, last, h.now)
	}
	if !accepted {
		for _, v := range values {
			h.drop(v, w, "finished")
		}
		return
	}
	c.values = append(c.values, values...)
	c.state, c.touched = h.s.AppendState(nil, &st), true
}

func (h *harness) read(st *State, b []byte) {
	h.t.Helper()
	if err := h.s.ReadState(st, b); err != nil {
		h.t.Fatal(err)
	}
}

// merge merges the windows there are with w, and returns the one that w is in then.
func (h *harness) merge(w coders.IntervalWindow) coders.IntervalWindow {
	if !h.win.merging {
		return w
	}
	ws := []coders.IntervalWindow{w}
	for _, o := range h.windows() {
		var st State
		if h.read(&st, h.cell[o].state); !st.Closed() {
			ws = append(ws, o)
		}
	}
	merged, into := MergeIntervals(ws)
	result := merged[into[0]]
	var from []*State
	var dst State
	var values []int64
	if c := h.cell[result]; c != nil {
		h.read(&dst, c.state)
		values = c.values
	}
	for i, o := range ws[1:] {
		if into[i+1] != into[0] || o == result {
			continue
		}
		st := new(State)
		h.read(st, h.cell[o].state)
		from = append(from, st)
		values = append(values, h.cell[o].values...)
		delete(h.cell, o)
	}
	if len(from) == 0 {
		return result
	}
	h.s.Merge(&dst, from, window(result), h.now)
	for _, st := range from {
		if st.Used() {
			h.t.Errorf("a state that merged away is left over")
		}
	}
	if dst.has(0) {
		h.t.Errorf("merging into %s finished the trigger", windowText(result))
	}
	c := h.at(result)
	c.values, c.state, c.touched = values, h.s.AppendState(nil, &dst), true
	return result
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
			h.panes = append(h.panes, pane{w, out.Timestamp, out.Pane, values})
		}
		if out.Discard {
			c.values = nil
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
