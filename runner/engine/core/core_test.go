package core

import (
	"errors"
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/internal/testkit/seeds"
	"github.com/summerbeam/summerbeam/runner/graph"
)

var seedCount = flag.Int("seeds", 300, "number of seeds for the simulated jobs")

// link adds a stage that reads from others, and the outputs that feed it.
func link(p *graph.Plan, s *graph.Stage, from ...int) int {
	s.Index = len(p.Stages)
	s.ID, s.Name = string(rune('a'+s.Index)), string(rune('a'+s.Index))
	if len(from) > 0 && s.Input == nil {
		s.Input = &graph.Input{}
	}
	for _, f := range from {
		s.Input.From = append(s.Input.From, connect(p.Stages[f], graph.Target{Stage: s.Index, SideInput: -1}))
	}
	p.Stages = append(p.Stages, s)
	return s.Index
}

func connect(from *graph.Stage, to graph.Target) graph.Edge {
	if len(from.Outputs) == 0 {
		from.Outputs = []*graph.Output{{}}
	}
	from.Outputs[0].To = append(from.Outputs[0].To, to)
	return graph.Edge{Stage: from.Index, Output: 0}
}

// everything is a plan with each kind of stage: an impulse, a splittable stage,
// a stateful one, a grouping, a flatten and a side input.
func everything() *graph.Plan {
	p := &graph.Plan{}
	imp := link(p, &graph.Stage{Kind: graph.Impulse})
	sdf := link(p, &graph.Stage{Kind: graph.SDK, Splittable: true}, imp)
	state := link(p, &graph.Stage{Kind: graph.SDK, Stateful: true, Input: &graph.Input{Keyed: true}}, sdf)
	group := link(p, &graph.Stage{Kind: graph.SDK, Input: &graph.Input{Keyed: true, Grouping: &graph.Grouping{}}}, sdf)
	flat := link(p, &graph.Stage{Kind: graph.Forward}, state, group)
	last := &graph.Stage{Kind: graph.SDK, Finalizes: true}
	link(p, last, flat)
	last.SideInputs = []*graph.SideInput{{From: []graph.Edge{connect(p.Stages[group], graph.Target{Stage: last.Index, SideInput: 0})}}}
	return p
}

func numbers(n int) []int {
	v := make([]int, n)
	for i := range v {
		v[i] = i
	}
	return v
}

func sorted(v []int) []int {
	v = slices.Clone(v)
	slices.Sort(v)
	return v
}

// TestEverySeedGivesTheSameResult runs one plan under many orders of events, with
// failures, lost workers, residuals and small bundles: each stage must apply every
// element exactly once.
func TestEverySeedGivesTheSameResult(t *testing.T) {
	splits := 0
	n := seeds.Each(t, *seedCount, func(seed uint64) {
		plan := everything()
		plan.Stages[1].Unbounded = seed%3 == 0
		s := newSim(plan, Config{
			Shards: 3, Slots: 1 + int(seed%5), BundleElements: 1 + int64(seed%17), EpochBytes: 20,
			SplitAfter: 10 * time.Millisecond, CheckpointAfter: 10 * time.Millisecond, ForceSplits: seed%2 == 0, Ephemeral: seed%7 == 3,
			StateSlots: int(seed % 4), StateShards: 5,
		}, seed)
		s.input = numbers(60)
		s.fail, s.lose, s.residual, s.memory = 20, 10, 60, 5
		if err := s.run(0); err != nil {
			t.Fatal(err)
		}
		if s.result != nil {
			t.Fatalf("job failed: %v", s.result)
		}
		splits += s.splits
		once := numbers(60)
		twice := sorted(append(numbers(60), numbers(60)...))
		for stage, want := range [][]int{once, once, once, once, twice, twice} {
			if got := sorted(s.got[stage]); !slices.Equal(got, want) {
				t.Errorf("stage %d applied %v, want %v", stage, got, want)
			}
		}
		if got := sorted(s.side[[2]int{5, 0}]); !slices.Equal(got, once) {
			t.Errorf("side input holds %v", got)
		}
		committed := 0
		for id := range s.committed {
			if slices.Contains(s.finalized, id) {
				committed++
			}
		}
		if committed != len(s.finalized) || len(s.finalized) == 0 {
			t.Errorf("%d finalized, of them %d committed", len(s.finalized), committed)
		}
	})
	if splits < n/10 {
		t.Errorf("%d splits in %d seeds: too few to show anything", splits, n)
	}
}

// TestKeysStayInOrder: without residuals and failures of order, a key's elements
// reach a stateful stage in the order in which one bundle put them out.
func TestKeysStayInOrder(t *testing.T) {
	seeds.Each(t, *seedCount, func(seed uint64) {
		p := &graph.Plan{}
		imp := link(p, &graph.Stage{Kind: graph.Impulse})
		first := link(p, &graph.Stage{Kind: graph.SDK, Stateful: true, Input: &graph.Input{Keyed: true}}, imp)
		second := link(p, &graph.Stage{Kind: graph.SDK, Stateful: true, Input: &graph.Input{Keyed: true}}, first)
		s := newSim(p, Config{Shards: 3, BundleElements: 2}, seed)
		s.input = numbers(80)
		s.fail = 30
		if err := s.run(0); err != nil {
			t.Fatal(err)
		}
		last := map[int]int{}
		for _, v := range s.got[second] {
			k := v % simKeys
			if prev, ok := last[k]; ok && prev > v {
				t.Fatalf("key %d: %d came behind %d", k, v, prev)
			}
			last[k] = v
		}
	})
}

func TestCancelAtAnyStep(t *testing.T) {
	seeds.Each(t, *seedCount, func(seed uint64) {
		s := newSim(everything(), Config{Shards: 3, BundleElements: 5}, seed)
		s.input = numbers(60)
		s.fail, s.residual = 20, 50
		if err := s.run(1 + int(seed%40)); err != nil {
			t.Fatal(err)
		}
		if s.steps > 1+int(seed%40) && !errors.Is(s.result, errCanceled) {
			t.Fatalf("result %v after a cancel", s.result)
		}
	})
}

func TestABundleThatKeepsFailingFailsTheJob(t *testing.T) {
	p := &graph.Plan{}
	link(p, &graph.Stage{Kind: graph.Impulse})
	p.Stages[0].Name = "Impulse"
	c := New(p, Config{Attempts: 2})
	run := c.Step(0, Started{})[0].(RunBundle)
	cause := errors.New("user code: division by zero")
	acts := c.Step(1, BundleFailed{Bundle: run.Bundle, Err: cause})
	if r, ok := acts[0].(Retried); !ok || r.Attempt != 1 {
		t.Fatalf("first failure: got %#v, want Retried", acts[0])
	}
	w := of[WakeAt](acts)
	if len(w) != 1 || w[0].At < 100*time.Millisecond || len(of[RunBundle](acts)) > 0 {
		t.Fatalf("got %#v, want it to wait before the next attempt", acts)
	}
	run = of[RunBundle](c.Step(w[0].At, Tick{}))[0]
	if run.Attempt != 2 {
		t.Errorf("attempt %d, want 2", run.Attempt)
	}
	acts = c.Step(w[0].At, BundleFailed{Bundle: run.Bundle, Err: cause})
	f, ok := acts[len(acts)-1].(Finish)
	if !ok || !errors.Is(f.Err, cause) {
		t.Fatalf("got %#v, want Finish with the cause", acts)
	}
	if got, want := f.Err.Error(), "stage a: after 2 attempts: user code: division by zero"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

func TestAFatalFailureIsNotRetried(t *testing.T) {
	p := &graph.Plan{}
	link(p, &graph.Stage{Kind: graph.Impulse})
	c := New(p, Config{})
	run := c.Step(0, Started{})[0].(RunBundle)
	acts := c.Step(1, BundleFailed{Bundle: run.Bundle, Err: errors.New("no"), Fatal: true})
	if _, ok := acts[len(acts)-1].(Finish); !ok {
		t.Fatalf("got %#v, want Finish", acts)
	}
}

// TestNoStateNoEpoch: an epoch with nothing to write is not written, and the job
// still ends.
func TestNoStateNoEpoch(t *testing.T) {
	p := &graph.Plan{}
	imp := link(p, &graph.Stage{Kind: graph.Impulse})
	link(p, &graph.Stage{Kind: graph.SDK}, imp)
	s := newSim(p, Config{}, 1)
	s.input = numbers(10)
	if err := s.run(0); err != nil {
		t.Fatal(err)
	}
	if len(s.durable) != 0 {
		t.Errorf("%d epochs written, want none", len(s.durable))
	}
}

// TestDoneOnlyBehindTheLastEpoch: changed state must be durable before Finish.
func TestDoneOnlyBehindTheLastEpoch(t *testing.T) {
	p := &graph.Plan{}
	link(p, &graph.Stage{Kind: graph.Impulse, Stateful: true})
	c := New(p, Config{EpochInterval: time.Hour})
	run := c.Step(0, Started{})[0].(RunBundle)
	acts := c.Step(1, BundleFinished{Bundle: run.Bundle, StateBytes: 3})
	if w, ok := acts[len(acts)-1].(WriteEpoch); !ok || w.Epoch != 1 {
		t.Fatalf("got %#v, want WriteEpoch 1", acts)
	}
	acts = c.Step(2, EpochDurable{Epoch: 1})
	if f, ok := acts[len(acts)-1].(Finish); !ok || f.Err != nil {
		t.Fatalf("got %#v, want Finish", acts)
	}
	// And a write that fails fails the job.
	c = New(p, Config{EpochInterval: time.Hour})
	run = c.Step(0, Started{})[0].(RunBundle)
	c.Step(1, BundleFinished{Bundle: run.Bundle, StateBytes: 3})
	acts = c.Step(2, EpochDurable{Epoch: 1, Err: errors.New("disk full")})
	if f, ok := acts[len(acts)-1].(Finish); !ok || f.Err == nil {
		t.Fatalf("got %#v, want Finish with an error", acts)
	}
}

// TestUndurable: the oldest change that would be lost counts until its epoch is durable, and
// then the first of those made meanwhile.
func TestUndurable(t *testing.T) {
	p := &graph.Plan{}
	link(p, &graph.Stage{Kind: graph.Impulse, Stateful: true})
	link(p, &graph.Stage{Kind: graph.Impulse, Stateful: true})
	c := New(p, Config{EpochInterval: 10})
	check := func(want time.Duration, wantOK bool) {
		t.Helper()
		if at, ok := c.Undurable(); at != want || ok != wantOK {
			t.Errorf("got %d, %t, want %d, %t", at, ok, want, wantOK)
		}
	}
	acts := c.Step(0, Started{})
	one, two := acts[0].(RunBundle), acts[1].(RunBundle)
	check(0, false)
	c.Step(3, BundleFinished{Bundle: one.Bundle, StateBytes: 3})
	check(3, true)
	c.Step(13, Tick{}) // the epoch begins
	check(3, true)
	c.Step(15, BundleFinished{Bundle: two.Bundle, StateBytes: 3})
	check(3, true)
	c.Step(17, EpochDurable{Epoch: 1}) // and the next one
	check(15, true)
	c.Step(18, EpochDurable{Epoch: 2})
	check(0, false)
}

func TestSameEventsSameActions(t *testing.T) {
	trace := func() (out []string) {
		s := newSim(everything(), Config{Shards: 3}, 42)
		s.input = numbers(50)
		s.fail, s.residual = 30, 50
		if err := s.run(0); err != nil {
			t.Fatal(err)
		}
		for _, g := range s.got {
			for _, v := range g {
				out = append(out, string(rune('0'+v%10)))
			}
		}
		return out
	}
	want := trace()
	for range 20 {
		if !slices.Equal(trace(), want) {
			t.Fatal("the same seed took another way")
		}
	}
}

// TestEphemeralJobsWriteOnlyForRoom: state that need not be durable goes to the store
// when there is much of it, and neither finalizers nor the job's end wait for it.
func TestEphemeralJobsWriteOnlyForRoom(t *testing.T) {
	p := &graph.Plan{}
	imp := link(p, &graph.Stage{Kind: graph.Impulse})
	link(p, &graph.Stage{Kind: graph.SDK, Stateful: true, Finalizes: true, Input: &graph.Input{Keyed: true}}, imp)
	for _, bytes := range []int64{9, 10} {
		c := New(p, Config{Shards: 1, Ephemeral: true, EpochBytes: 10, EpochInterval: time.Nanosecond})
		_, id := runs(c.Step(0, Started{}))
		_, id = runs(c.Step(1, BundleFinished{Bundle: id, Outputs: []Routed{{Block: blockOf(1)}}}))
		acts := c.Step(time.Hour, BundleFinished{Bundle: id, StateBytes: bytes, Finalize: true, Residuals: []Residual{{Block: blockOf(1), Delay: time.Minute}}})
		wrote, finalized := false, false
		for _, a := range acts {
			switch a.(type) {
			case WriteEpoch:
				wrote = true
			case Finalize:
				finalized = true
			}
		}
		if !finalized || wrote != (bytes == 10) {
			t.Errorf("%d bytes: %v", bytes, acts)
		}
		_, id = runs(c.Step(2*time.Hour, Tick{}))
		acts = c.Step(2*time.Hour, BundleFinished{Bundle: id, StateBytes: 1})
		if wrote {
			acts = c.Step(2*time.Hour, EpochDurable{Epoch: 1})
		}
		if _, ok := acts[len(acts)-1].(Finish); !ok {
			t.Errorf("%d bytes: the end waits for an epoch: %v", bytes, acts)
		}
	}
}
