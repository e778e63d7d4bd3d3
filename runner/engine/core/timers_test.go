package core

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/runner/graph"
)

// drive runs a core with a script of what bundles do. It returns once nothing is
// left to answer, and wakes the core when that is all that it waits for.
func drive(t *testing.T, c *Core, start time.Duration, ev Event, bundle func(time.Duration, RunBundle) BundleFinished, group func(GroupShard) ShardGrouped) (time.Duration, bool) {
	t.Helper()
	now := start
	pending := []Event{ev}
	for steps := 0; ; steps++ {
		if steps > 10_000 {
			t.Fatal("the job does not end")
		}
		wake := time.Duration(-1)
		for len(pending) > 0 {
			e := pending[0]
			pending = pending[1:]
			wake = -1
			for _, a := range c.Step(now, e) {
				switch a := a.(type) {
				case RunBundle:
					pending = append(pending, bundle(now, a))
				case GroupShard:
					pending = append(pending, group(a))
				case WriteEpoch:
					pending = append(pending, EpochDurable{Epoch: a.Epoch})
				case AskSplit:
					pending = append([]Event{SplitAnswered{Bundle: a.Bundle, Refused: true}}, pending...)
				case WakeAt:
					wake = a.At
				case Finish:
					if a.Err != nil {
						t.Fatalf("job failed: %v", a.Err)
					}
					return now, true
				}
			}
		}
		if wake < 0 {
			return now, false
		}
		now = max(now, wake)
		pending = append(pending, Tick{})
	}
}

func timersPlan() *graph.Plan {
	p := &graph.Plan{}
	imp := link(p, &graph.Stage{Kind: graph.Impulse})
	state := link(p, &graph.Stage{Kind: graph.SDK, Stateful: true, Input: &graph.Input{Keyed: true}}, imp)
	link(p, &graph.Stage{Kind: graph.SDK}, state)
	return p
}

// TestTimersFireInBothDomains: an event timer fires when the watermark gets there,
// a processing timer when the clock does; a job ends only when both have fired,
// and a timer's hold keeps the watermark of what comes behind.
func TestTimersFireInBothDomains(t *testing.T) {
	p := timersPlan()
	c := New(p, Config{Shards: 1, StartMillis: 1000})
	var fired []string
	var held []int64
	end, done := drive(t, c, 0, Started{}, func(now time.Duration, r RunBundle) BundleFinished {
		ev := BundleFinished{Bundle: r.Bundle}
		switch {
		case r.Stage == 0:
			ev.Outputs = []Routed{{Block: Block{Count: 1, Hold: 10}}}
		case r.Stage == 1 && len(r.Blocks) > 0:
			ev.Timers = &Timers{Event: 50, Processing: 1700, Hold: 20}
		case r.Stage == 1:
			held = append(held, c.stages[1].outputWM)
			next := NoTimers
			if r.Event >= 50 && len(fired) == 0 {
				fired = append(fired, "event")
				next = Timers{Event: MaxTime, Processing: 1700, Hold: 20}
			} else if r.Processing >= 1700 {
				fired = append(fired, "processing")
			}
			ev.Timers = &next
		}
		return ev
	}, nil)
	if !done {
		t.Fatal("the job is stuck")
	}
	if want := []string{"event", "processing"}; !slices.Equal(fired, want) {
		t.Errorf("fired %v, want %v", fired, want)
	}
	if end != 700*time.Millisecond {
		t.Errorf("ended at %v, want 700ms: that is when the processing timer is due", end)
	}
	for _, h := range held {
		if h > 20 {
			t.Errorf("output watermark %d while a timer holds it at 20", h)
		}
	}
}

// TestATimerWithoutAHoldIsWaitedFor: a side input is complete only when no timer can
// add to it, whether or not it holds the watermark.
func TestATimerWithoutAHoldIsWaitedFor(t *testing.T) {
	p := timersPlan()
	p.Stages[2].SideInputs = []*graph.SideInput{{From: []graph.Edge{connect(p.Stages[1], graph.Target{Stage: 2, SideInput: 0})}}}
	c := New(p, Config{Shards: 1})
	run := of[RunBundle](c.Step(0, Started{}))
	run = of[RunBundle](c.Step(0, BundleFinished{Bundle: run[0].Bundle, Outputs: []Routed{{Block: Block{Count: 1, Hold: 10}}}}))
	acts := c.Step(0, BundleFinished{Bundle: run[0].Bundle, Timers: &Timers{Event: 50, Processing: MaxTime, Hold: MaxTime}})
	if s := of[SealSideInput](acts); len(s) != 0 {
		t.Fatal("the side input is sealed while a timer is set")
	}
	run = of[RunBundle](acts)
	if len(run) != 1 || run[0].Event != MaxTime {
		t.Fatalf("got %+v, want the timer to fire", run)
	}
	none := NoTimers
	if s := of[SealSideInput](c.Step(0, BundleFinished{Bundle: run[0].Bundle, Timers: &none})); len(s) != 1 {
		t.Error("the side input is not sealed when the timer has fired")
	}
}

// TestTestStreamWaitsForQuiescence: an event of a TestStream happens only when all
// that the one before has caused is over, timers of the virtual clock included.
func TestTestStreamWaitsForQuiescence(t *testing.T) {
	p := &graph.Plan{}
	ts := link(p, &graph.Stage{Kind: graph.TestStream, TestEvents: []graph.TestEvent{
		{Elements: [][]byte{{1}}},
		{Watermark: 100},
		{Advance: 500},
		{Elements: [][]byte{{2}}},
		{Watermark: 200},
	}})
	link(p, &graph.Stage{Kind: graph.SDK, Stateful: true, Input: &graph.Input{Keyed: true}}, ts)
	c := New(p, Config{Shards: 1, StartMillis: 1000})
	var log []string
	note := func(s string) { log = append(log, s) }
	_, done := drive(t, c, 0, Started{}, func(_ time.Duration, r RunBundle) BundleFinished {
		ev := BundleFinished{Bundle: r.Bundle}
		switch {
		case r.Stage == 0:
			ev.Outputs = []Routed{{Block: Block{Count: 1, Hold: 10}}}
		case len(r.Blocks) > 0:
			note("element")
			ev.Timers = &Timers{Event: 60, Processing: 1400, Hold: MaxTime}
		default:
			next := NoTimers
			if r.Processing < 1400 {
				note("event timer")
				next = Timers{Event: MaxTime, Processing: 1400, Hold: MaxTime}
			} else {
				note("processing timer")
			}
			ev.Timers = &next
		}
		return ev
	}, nil)
	if !done {
		t.Fatal("the job is stuck")
	}
	// The second element's timers are due at once: both clocks are past them.
	want := []string{"element", "event timer", "processing timer", "element", "processing timer"}
	if !slices.Equal(log, want) {
		t.Errorf("got %v, want %v", log, want)
	}
}

// TestTriggersAreAskedWhenDue: a grouping with triggers runs when elements
// come and when its timers are due, and its buffers hold the watermark.
func TestTriggersAreAskedWhenDue(t *testing.T) {
	p := &graph.Plan{}
	ts := link(p, &graph.Stage{Kind: graph.TestStream, TestEvents: []graph.TestEvent{
		{Elements: [][]byte{{1}}}, {Watermark: 50}, {Watermark: 100},
	}})
	link(p, &graph.Stage{Kind: graph.SDK, Input: &graph.Input{Keyed: true, Grouping: &graph.Grouping{Triggered: true}}}, ts)
	c := New(p, Config{Shards: 1})
	var asked []int64
	panes := 0
	_, done := drive(t, c, 0, Started{}, func(_ time.Duration, r RunBundle) BundleFinished {
		ev := BundleFinished{Bundle: r.Bundle}
		if r.Stage == 0 {
			ev.Outputs = []Routed{{Block: Block{Count: 1, Hold: 10}}}
		} else {
			panes += len(r.Blocks)
		}
		return ev
	}, func(g GroupShard) ShardGrouped {
		asked = append(asked, g.Event)
		ev := ShardGrouped{Bundle: g.Bundle, Stage: g.Stage, Shard: g.Shard, Taken: len(g.Blocks)}
		if g.Event < 80 {
			if c.stages[1].outputWM > 10 {
				t.Errorf("output watermark %d before the pane at 80", c.stages[1].outputWM)
			}
			ev.Timers = &Timers{Event: 80, Processing: MaxTime, Hold: 80}
			return ev
		}
		none := NoTimers
		ev.Timers = &none
		ev.Blocks = []Block{{Count: 1, Hold: 80}}
		return ev
	})
	if !done {
		t.Fatal("the job is stuck")
	}
	if want := []int64{MinTime, 100}; !slices.Equal(asked, want) {
		t.Errorf("asked at %v, want %v", asked, want)
	}
	if panes != 1 {
		t.Errorf("%d panes, want 1", panes)
	}
}

// TestDueTriggersHoldTheirOutput: a trigger hears of the end of its window before the
// output watermark is past it, though nothing else holds that, whichever shard is first.
func TestDueTriggersHoldTheirOutput(t *testing.T) {
	p := &graph.Plan{}
	ts := link(p, &graph.Stage{Kind: graph.TestStream, TestEvents: []graph.TestEvent{{Elements: [][]byte{{1}, {2}}}, {Watermark: 50}, {Watermark: 100}}})
	link(p, &graph.Stage{Kind: graph.SDK, Input: &graph.Input{Keyed: true, Grouping: &graph.Grouping{Triggered: true}}}, ts)
	c := New(p, Config{Shards: 2})
	outputs := map[int]int64{}
	_, done := drive(t, c, 0, Started{}, func(_ time.Duration, r RunBundle) BundleFinished {
		ev := BundleFinished{Bundle: r.Bundle}
		if r.Stage == 0 {
			ev.Outputs = []Routed{{Shard: 0, Block: Block{Count: 1, Hold: 10}}, {Shard: 1, Block: Block{Count: 1, Hold: 10}}}
		}
		return ev
	}, func(g GroupShard) ShardGrouped {
		ev := ShardGrouped{Bundle: g.Bundle, Stage: g.Stage, Shard: g.Shard, Taken: len(g.Blocks)}
		due := NoTimers
		if g.Event < 80 {
			due.Event = 80
		} else {
			outputs[g.Shard] = g.Output
		}
		ev.Timers = &due
		return ev
	})
	if !done {
		t.Fatal("the job is stuck")
	}
	if outputs[0] != 79 || outputs[1] != 79 {
		t.Errorf("output watermarks %v where triggers are due at 80, want 79", outputs)
	}
}

// TestHolds compares the multiset with a sorted slice.
func TestHolds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	h := newHolds()
	var all []int64
	for range 20_000 {
		if len(all) == 0 || rnd.IntN(2) == 0 {
			v := int64(rnd.IntN(40))
			h.add(v)
			all = append(all, v)
		} else {
			i := rnd.IntN(len(all))
			if !h.remove(all[i]) {
				t.Fatalf("%d is gone", all[i])
			}
			all = slices.Delete(all, i, i+1)
		}
		want := int64(MaxTime)
		if len(all) > 0 {
			want = slices.Min(all)
		}
		if h.min() != want {
			t.Fatalf("min %d, want %d", h.min(), want)
		}
	}
	if h.remove(99) {
		t.Error("removed what was never added")
	}
}

// BenchmarkStep is one bundle's start and end: what the core costs, whatever the
// bundle holds.
func BenchmarkStep(b *testing.B) {
	p := &graph.Plan{}
	imp := link(p, &graph.Stage{Kind: graph.Impulse})
	link(p, &graph.Stage{Kind: graph.SDK, Splittable: true}, imp)
	c := New(p, Config{Slots: 1, SplitAfter: time.Hour})
	run := c.Step(0, Started{})[0].(RunBundle)
	for _, a := range c.Step(0, BundleFinished{Bundle: run.Bundle, Outputs: []Routed{{Block: Block{Count: 1}}}}) {
		if r, ok := a.(RunBundle); ok {
			run = r
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, a := range c.Step(0, BundleFinished{Bundle: run.Bundle, Residuals: []Residual{{Block: Block{Count: 1}}}}) {
			if r, ok := a.(RunBundle); ok {
				run = r
			}
		}
	}
}

// TestTimeGoesOnBehindTestStreams: when all TestStreams are over, nobody moves
// processing time any more, and timers that wait for it fire all the same, in order.
func TestTimeGoesOnBehindTestStreams(t *testing.T) {
	p := &graph.Plan{}
	ts := link(p, &graph.Stage{Kind: graph.TestStream, TestEvents: []graph.TestEvent{{Elements: [][]byte{{1}}}}})
	link(p, &graph.Stage{Kind: graph.SDK, Stateful: true, Input: &graph.Input{Keyed: true}}, ts)
	c := New(p, Config{Shards: 1, StartMillis: 1000})
	var fired []int64
	_, done := drive(t, c, 0, Started{}, func(_ time.Duration, r RunBundle) BundleFinished {
		ev := BundleFinished{Bundle: r.Bundle}
		switch {
		case r.Stage == 0:
			ev.Outputs = []Routed{{Block: Block{Count: 1, Hold: 10}}}
		case len(r.Blocks) > 0:
			ev.Timers = &Timers{Event: MaxTime, Processing: 61_000, Hold: MaxTime}
		default:
			fired = append(fired, r.Processing)
			next := NoTimers
			if len(fired) == 1 {
				next.Processing = 3_601_000
			}
			ev.Timers = &next
		}
		return ev
	}, nil)
	if !done {
		t.Fatal("the job waits for timers that never fire")
	}
	if want := []int64{61_000, 3_601_000}; !slices.Equal(fired, want) {
		t.Errorf("fired at %v, want %v", fired, want)
	}
}
