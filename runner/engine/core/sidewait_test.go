package core

import (
	"slices"
	"testing"

	"github.com/summerbeam/summerbeam/runner/graph"
)

// waitPlan has a stage that waits for a side input by window: both inputs come from
// splittable stages, whose residuals hold their watermarks.
func waitPlan(stateful bool) *graph.Plan {
	p := &graph.Plan{}
	imp := link(p, &graph.Stage{Kind: graph.Impulse})
	main := link(p, &graph.Stage{Kind: graph.SDK, Splittable: true, Unbounded: true}, imp)
	side := link(p, &graph.Stage{Kind: graph.SDK, Splittable: true, Unbounded: true}, imp)
	s := &graph.Stage{Kind: graph.SDK, Stateful: stateful, Input: &graph.Input{Keyed: stateful}}
	s.SideInputs = []*graph.SideInput{{Windows: &graph.SideWindows{}, From: []graph.Edge{connect(p.Stages[side], graph.Target{Stage: 3, SideInput: 0})}}}
	link(p, s, main)
	return p
}

// waitTest drives a plan of waitPlan: sources put out what they are told, one bundle
// after another.
type waitTest struct {
	t *testing.T
	c *Core
	// source is the running bundle of each source, by stage.
	source map[int]BundleID
	// ran are the payloads of the stage's bundles in the order in which they began.
	ran []any
	// running are its bundles.
	running []RunBundle
}

func newWaitTest(t *testing.T, stateful bool) *waitTest {
	w := &waitTest{t: t, c: New(waitPlan(stateful), Config{Shards: 1, Slots: 1}), source: make(map[int]BundleID)}
	run := of[RunBundle](w.c.Step(0, Started{}))
	w.step(BundleFinished{Bundle: run[0].Bundle, Outputs: []Routed{
		{Target: 0, Block: Block{Count: 1, Hold: MinTime}}, {Target: 1, Block: Block{Count: 1, Hold: MinTime}},
	}})
	return w
}

func (w *waitTest) step(ev Event) {
	w.t.Helper()
	for _, a := range of[RunBundle](w.c.Step(0, ev)) {
		if a.Stage != 3 {
			w.source[a.Stage] = a.Bundle
			continue
		}
		w.running = append(w.running, a)
		for _, b := range a.Blocks {
			w.ran = append(w.ran, b.Payload)
		}
	}
}

// emit has a source write blocks and go on from a watermark.
func (w *waitTest) emit(stage int, watermark int64, payloads ...any) {
	w.t.Helper()
	fin := BundleFinished{Bundle: w.source[stage], Residuals: []Residual{{Block: Block{Count: 1, Hold: watermark}}}}
	for i, p := range payloads {
		fin.Outputs = append(fin.Outputs, Routed{Block: Block{Count: 1, Hold: int64(10 + i), Payload: p}})
	}
	w.step(fin)
}

// end ends the oldest bundle of the stage: what wait says must wait, until then.
func (w *waitTest) end(until map[any]SideWait) {
	w.t.Helper()
	if len(w.running) == 0 {
		w.t.Fatal("nothing runs")
	}
	run := w.running[0]
	w.running = w.running[1:]
	ev := BundleWaits{Bundle: run.Bundle}
	for _, b := range run.Blocks {
		if f, ok := until[b.Payload]; ok && run.Sides[0] <= f.Until {
			ev.Waiting = append(ev.Waiting, Waiting{Block: b, For: []SideWait{f}})
		} else {
			ev.Ready = append(ev.Ready, b)
		}
	}
	if len(ev.Waiting) > 0 {
		w.step(ev)
		return
	}
	w.step(BundleFinished{Bundle: run.Bundle})
}

func (w *waitTest) check(what string, want ...any) {
	w.t.Helper()
	if !slices.Equal(w.ran, want) {
		w.t.Fatalf("%s: ran %v, want %v", what, w.ran, want)
	}
	w.ran = nil
}

const (
	mainSource = 1
	sideSource = 2
)

// TestElementsWaitForTheirWindow: what waits holds its watermark and no slot, and the
// rest runs on.
func TestElementsWaitForTheirWindow(t *testing.T) {
	for _, stateful := range []bool{false, true} {
		w := newWaitTest(t, stateful)
		until := map[any]SideWait{"a": {Until: 100}}
		w.emit(mainSource, 50, "a", "b")
		w.check("at first", "a", "b")
		w.end(until)
		w.check("without a", "b")
		w.end(until)
		if wm := w.c.stages[3].outputWM; wm != 10 {
			t.Errorf("watermark %d, want a's 10", wm)
		}
		w.emit(mainSource, 60, "c")
		w.end(until)
		w.check("more of the main input", "c")
		w.emit(sideSource, 100)
		w.check("the side input is at the window's last moment")
		w.emit(sideSource, 101)
		w.check("behind the window", "a")
		w.end(until)
		if wm := w.c.stages[3].outputWM; wm != 60 {
			t.Errorf("watermark %d, want the main input's 60", wm)
		}
	}
}

// TestMoreWakesWhatWaitsForAny: elements that came while the driver looked wake, too.
func TestMoreWakesWhatWaitsForAny(t *testing.T) {
	w := newWaitTest(t, false)
	until := map[any]SideWait{"a": {Until: 100, Any: true}}
	w.emit(mainSource, 50, "a")
	w.check("at first", "a")
	w.emit(sideSource, 0, "x")
	w.end(until)
	w.check("x came before it was told to wait", "a")
	w.end(until)
	w.check("it was not what it waits for")
	w.emit(sideSource, 0, "y")
	w.check("y", "a")
}

// TestWhatWaitsKeepsItsOrder: with state, elements of a key that wait for the same
// window run in the order in which they came, however they came to wait.
func TestWhatWaitsKeepsItsOrder(t *testing.T) {
	w := newWaitTest(t, true)
	until := map[any]SideWait{"a": {Until: 100}, "b": {Until: 100}}
	w.emit(mainSource, 50, "a")
	w.end(until)
	w.emit(mainSource, 50, "b")
	w.check("one after the other", "a", "b")
	// The window ends while b is looked at: a must not go before it is known that b
	// waits, or b would have to go in front of it or behind what comes later.
	w.emit(sideSource, 200)
	w.emit(mainSource, 50, "c")
	w.check("b is being looked at")
	w.end(until)
	w.check("all", "a", "b", "c")
}
