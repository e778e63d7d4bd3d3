package core

import (
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/runner/graph"
)

// sourcePlan is an impulse, an unbounded splittable stage and what reads from it.
func sourcePlan() *graph.Plan {
	p := &graph.Plan{}
	imp := link(p, &graph.Stage{Kind: graph.Impulse})
	sdf := link(p, &graph.Stage{Kind: graph.SDK, Splittable: true, Unbounded: true, Truncate: &graph.Truncation{}}, imp)
	link(p, &graph.Stage{Kind: graph.SDK}, sdf)
	return p
}

// of returns the actions of a kind.
func of[A Action](acts []Action) (out []A) {
	for _, a := range acts {
		if a, ok := a.(A); ok {
			out = append(out, a)
		}
	}
	return out
}

// startSources runs the impulse, which makes n restrictions, and returns the bundles
// of the sources that are started.
func startSources(t *testing.T, c *Core, n int) []RunBundle {
	t.Helper()
	run := of[RunBundle](c.Step(0, Started{}))
	fin := BundleFinished{Bundle: run[0].Bundle}
	for i := range n {
		fin.Outputs = append(fin.Outputs, Routed{Block: Block{Count: 1, Hold: int64(i), Payload: i}})
	}
	return of[RunBundle](c.Step(0, fin))
}

// TestASourceIsCheckpointed: a bundle that may never end is asked to stop when it
// has run for a while, though no slot is idle, and what it leaves goes behind the
// restrictions that wait.
func TestASourceIsCheckpointed(t *testing.T) {
	c := New(sourcePlan(), Config{Slots: 1, SourceSlots: 1, SplitAfter: time.Millisecond})
	run := startSources(t, c, 2)
	if len(run) != 1 || len(run[0].Blocks) != 2 {
		t.Fatalf("got %+v, want one bundle", run)
	}
	if w := of[WakeAt](c.Step(10*time.Millisecond, Tick{})); len(w) != 1 || w[0].At != youngCheckpoint {
		t.Fatalf("got %+v, want a wake-up when it has run for a while", w)
	}
	ask := of[AskSplit](c.Step(youngCheckpoint, Tick{}))
	if len(ask) != 1 || ask[0].Fraction != 0 || ask[0].Bundle != run[0].Bundle {
		t.Fatalf("got %+v, want to ask for a checkpoint", ask)
	}
	if again := of[AskSplit](c.Step(3*time.Second, Tick{})); len(again) != 0 {
		t.Fatalf("asked twice: %+v", again)
	}
	c.Step(3*time.Second, SplitAnswered{
		Bundle:   ask[0].Bundle,
		Primary:  []Block{{Count: 1, Hold: 0, Payload: "done"}},
		Residual: []Block{{Count: 1, Hold: 70, Payload: "rest"}, {Count: 1, Hold: 1, Payload: 1}},
		Roots:    1,
	})
	if wm := c.stages[1].outputWM; wm != 0 {
		t.Errorf("watermark %d while the primary is not applied, want 0", wm)
	}
	next := of[RunBundle](c.Step(3*time.Second, BundleFinished{Bundle: run[0].Bundle}))
	if len(next) != 1 || len(next[0].Blocks) != 2 || next[0].Blocks[0].Payload != 1 || next[0].Blocks[1].Payload != "rest" {
		t.Fatalf("got %+v, want the other restriction to have its turn first", next)
	}
	if wm := c.stages[1].outputWM; wm != 1 {
		t.Errorf("watermark %d, want 1: the other restriction holds it", wm)
	}
	c.Step(3*time.Second, BundleFinished{Bundle: next[0].Bundle})
	if wm := c.stages[1].outputWM; wm != MaxTime {
		t.Errorf("watermark %d behind the end of all", wm)
	}
}

// TestASlowSourceGetsLonger: a source that is cut off before its first claim every
// time would never come to it.
func TestASlowSourceGetsLonger(t *testing.T) {
	c := New(sourcePlan(), Config{CheckpointAfter: time.Second})
	now := time.Minute // when the job is not young any more
	c.Step(now, Tick{})
	run := startSources(t, c, 1)
	for _, want := range []time.Duration{1, 2, 4, 8, 16} {
		w := of[WakeAt](c.Step(now, Tick{}))
		if len(w) != 1 || w[0].At != now+want*time.Second {
			t.Fatalf("at %v: got %+v, want to wake after %d s", now, w, want)
		}
		now = w[0].At
		if ask := of[AskSplit](c.Step(now, Tick{})); len(ask) != 1 {
			t.Fatalf("at %v: got %+v, want to ask", now, ask)
		}
		old := run[0].Bundle
		run = of[RunBundle](c.Step(now, SplitAnswered{
			Bundle: old, Idle: true, Roots: 1, Primary: []Block{{Count: 1}}, Residual: []Block{{Count: 1, Payload: "rest"}},
		}))
		if len(run) != 1 {
			t.Fatal("the residual is not run")
		}
		c.Step(now, BundleFinished{Bundle: old})
	}
	// Once it has done something it is one like others.
	now += 32 * time.Second
	if ask := of[AskSplit](c.Step(now, Tick{})); len(ask) != 1 {
		t.Fatalf("got %+v, want to ask", ask)
	}
	c.Step(now, SplitAnswered{Bundle: run[0].Bundle, Roots: 1, Primary: []Block{{Count: 1}}, Residual: []Block{{Count: 1}}})
	w := of[WakeAt](c.Step(now, BundleFinished{Bundle: run[0].Bundle}))
	if len(w) != 1 || w[0].At != now+time.Second {
		t.Errorf("got %+v, want to wake after a second", w)
	}
}

// TestAYoungJobIsQuick: who starts a job wants to see something.
func TestAYoungJobIsQuick(t *testing.T) {
	c := New(sourcePlan(), Config{CheckpointAfter: time.Second})
	startSources(t, c, 1)
	if w := of[WakeAt](c.Step(0, Tick{})); len(w) != 1 || w[0].At != youngCheckpoint {
		t.Fatalf("got %+v, want to wake after %v", w, youngCheckpoint)
	}
}

// TestSourcesLeaveTheSlotsToOthers: many bundles that never end, and few slots. What
// has come out of one must go on.
func TestSourcesLeaveTheSlotsToOthers(t *testing.T) {
	c := New(sourcePlan(), Config{Slots: 2, SourceSlots: 5})
	run := startSources(t, c, 8)
	if len(run) != 5 {
		t.Fatalf("%d sources run, want 5", len(run))
	}
	acts := c.Step(0, BundleFinished{Bundle: run[0].Bundle, Outputs: []Routed{{Block: Block{Count: 1, Payload: "out"}}}})
	if next := of[RunBundle](acts); len(next) != 1 || next[0].Stage != 2 {
		t.Errorf("got %+v, want a bundle of the reader", next)
	}
}
