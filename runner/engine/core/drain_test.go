package core

import (
	"slices"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/internal/testkit/seeds"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// TestDrainAtAnyStep: whenever a drain comes, a value is processed once, or a
// truncation drops it, once; what is processed goes all the way, and the job ends.
func TestDrainAtAnyStep(t *testing.T) {
	dropped, processed := 0, 0
	seeds.Each(t, *seedCount, func(seed uint64) {
		plan := everything()
		plan.Stages[1].Truncate = &graph.Truncation{}
		plan.Stages[1].Unbounded = seed%2 == 0
		s := newSim(plan, Config{
			Shards: 3, Slots: 1 + int(seed%5), BundleElements: 1 + int64(seed%17), SplitAfter: 10 * time.Millisecond,
			CheckpointAfter: 10 * time.Millisecond, ForceSplits: seed%3 == 0,
		}, seed)
		s.input = numbers(60)
		s.fail, s.lose, s.residual = 20, 10, 60
		s.drainAt = 1 + int(seed%60)
		if err := s.run(0); err != nil {
			t.Fatal(err)
		}
		if s.result != nil {
			t.Fatalf("job failed: %v", s.result)
		}
		done := sorted(s.got[1])
		all := slices.Clone(done)
		for v := range 60 {
			if s.dropped[v]+s.kept[v] > 1 {
				t.Errorf("%d was truncated twice", v)
			}
			if s.dropped[v] > 0 {
				all = append(all, v)
			}
		}
		if got := sorted(all); !slices.Equal(got, numbers(60)) {
			t.Errorf("processed %v, dropped %v", done, s.dropped)
		}
		for _, stage := range []int{2, 3} {
			if got := sorted(s.got[stage]); !slices.Equal(got, done) {
				t.Errorf("stage %d applied %v, want %v", stage, got, done)
			}
		}
		processed += len(done)
		dropped += 60 - len(done)
	})
	if !seeds.Replaying() && (processed < dropped/10 || dropped < processed/10) {
		t.Errorf("%d processed, %d dropped: too few to show anything", processed, dropped)
	}
}

// TestDrainEndsSources: a drain cuts running bundles off at once, truncates what they
// leave and what waits, and does not truncate again what it has truncated.
func TestDrainEndsSources(t *testing.T) {
	c := New(sourcePlan(), Config{Slots: 1, SourceSlots: 1, CheckpointAfter: time.Hour})
	run := startSources(t, c, 1)
	// It has left something for much later.
	acts := c.Step(0, BundleFinished{Bundle: run[0].Bundle, Residuals: []Residual{{Block: Block{Count: 1, Payload: "late"}, Delay: time.Hour}}})
	if r := of[RunBundle](acts); len(r) != 0 {
		t.Fatalf("got %+v, want nothing to run", r)
	}
	run = of[RunBundle](c.Step(0, Drained{}))
	if len(run) != 1 || !run[0].Truncate || run[0].Blocks[0].Payload != "late" {
		t.Fatalf("got %+v, want a truncation of the residual", run)
	}
	run = of[RunBundle](c.Step(time.Second, BundleFinished{Bundle: run[0].Bundle, Residuals: []Residual{{Block: Block{Count: 1, Payload: "end"}}}}))
	if len(run) != 1 || run[0].Truncate || run[0].Blocks[0].Payload != "end" {
		t.Fatalf("got %+v, want to process what is left", run)
	}
	if acts := c.Step(time.Second, Drained{}); len(of[AskSplit](acts)) != 0 {
		t.Error("a second drain does something")
	}
	acts = c.Step(time.Second, BundleFinished{Bundle: run[0].Bundle, Residuals: []Residual{{Block: Block{Count: 1, Payload: "more"}, Delay: time.Second}}})
	if r := of[RunBundle](acts); len(r) != 0 {
		t.Fatalf("got %+v before its delay is over", r)
	}
	run = of[RunBundle](c.Step(2*time.Second, Tick{}))
	if len(run) != 1 || run[0].Truncate {
		t.Fatalf("got %+v, want to process what is left", run)
	}
	acts = c.Step(3*time.Second, BundleFinished{Bundle: run[0].Bundle})
	if f := of[Finish](acts); len(f) != 1 || f[0].Err != nil {
		t.Errorf("got %+v, want the end", acts)
	}
}

// TestDrainAsksAtOnce: a running source is asked for a checkpoint, and only what that
// leaves is truncated.
func TestDrainAsksAtOnce(t *testing.T) {
	c := New(sourcePlan(), Config{CheckpointAfter: time.Hour})
	run := startSources(t, c, 1)
	ask := of[AskSplit](c.Step(time.Second, Drained{}))
	if len(ask) != 1 || ask[0].Fraction != 0 {
		t.Fatalf("got %+v, want to ask for a checkpoint", ask)
	}
	next := of[RunBundle](c.Step(time.Second, SplitAnswered{
		Bundle: run[0].Bundle, Roots: 1, Primary: []Block{{Count: 1, Payload: "done"}}, Residual: []Block{{Count: 1, Payload: "rest"}},
	}))
	if len(next) != 1 || !next[0].Truncate || next[0].Blocks[0].Payload != "rest" {
		t.Fatalf("got %+v, want a truncation of the rest", next)
	}
	// What it had done is done again, as it was.
	c.Step(time.Second, BundleFailed{Bundle: run[0].Bundle})
	again := of[RunBundle](c.Step(2*time.Second, Tick{}))
	if len(again) != 1 || again[0].Truncate || again[0].Blocks[0].Payload != "done" {
		t.Errorf("got %+v, want the primary once more", again)
	}
}

// TestDrainFiresTimers: timers in processing time don't wait for the clock when all
// input has come.
func TestDrainFiresTimers(t *testing.T) {
	p := timersPlan()
	c := New(p, Config{Shards: 1})
	run := of[RunBundle](c.Step(0, Started{}))
	run = of[RunBundle](c.Step(0, BundleFinished{Bundle: run[0].Bundle, Outputs: []Routed{{Block: Block{Count: 1}}}}))
	far := time.Hour.Milliseconds()
	acts := c.Step(0, BundleFinished{Bundle: run[0].Bundle, Timers: &Timers{Event: MaxTime, Processing: far, Hold: MaxTime}})
	if r := of[RunBundle](acts); len(r) != 0 {
		t.Fatalf("got %+v, want to wait", r)
	}
	run = of[RunBundle](c.Step(time.Second, Drained{}))
	if len(run) != 1 || run[0].Processing != MaxTime {
		t.Fatalf("got %+v, want the timer to fire", run)
	}
	none := NoTimers
	if f := of[Finish](c.Step(time.Second, BundleFinished{Bundle: run[0].Bundle, Timers: &none})); len(f) != 1 {
		t.Error("the job goes on")
	}
}

// TestDrainEndsTestStreams: what the script has left is not played.
func TestDrainEndsTestStreams(t *testing.T) {
	p := &graph.Plan{}
	ts := link(p, &graph.Stage{Kind: graph.TestStream, TestEvents: []graph.TestEvent{
		{Elements: [][]byte{{1}}}, {Elements: [][]byte{{2}}},
	}})
	link(p, &graph.Stage{Kind: graph.SDK}, ts)
	c := New(p, Config{})
	run := of[RunBundle](c.Step(0, Started{}))
	c.Step(0, Drained{})
	acts := c.Step(0, BundleFinished{Bundle: run[0].Bundle})
	if f := of[Finish](acts); len(f) != 1 {
		t.Errorf("got %+v, want the end", acts)
	}
}
