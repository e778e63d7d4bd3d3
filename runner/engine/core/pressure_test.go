package core

import (
	"testing"

	"github.com/summerbeam/summerbeam/internal/testkit/seeds"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// runs returns the stages of the bundles that actions start.
func runs(acts []Action) (stages []int, last BundleID) {
	for _, a := range acts {
		if r, ok := a.(RunBundle); ok {
			stages, last = append(stages, r.Stage), r.Bundle
		}
	}
	return stages, last
}

func blockOf(n int64) Block { return Block{Count: n, Hold: MinTime, Payload: make([]int, n)} }

// TestSourcesWaitWhileMemoryIsShort: a source's residual is not taken up while what
// it has given waits below, and is as soon as that is worked off.
func TestSourcesWaitWhileMemoryIsShort(t *testing.T) {
	for _, short := range []bool{false, true} {
		p := &graph.Plan{}
		imp := link(p, &graph.Stage{Kind: graph.Impulse})
		src := link(p, &graph.Stage{Kind: graph.SDK, Splittable: true}, imp)
		state := link(p, &graph.Stage{Kind: graph.SDK, Stateful: true, Input: &graph.Input{Keyed: true}}, src)
		c := New(p, Config{Shards: 1, Slots: 4, BundleElements: 1})
		_, id := runs(c.Step(0, Started{}))
		_, id = runs(c.Step(1, BundleFinished{Bundle: id, Outputs: []Routed{{Block: blockOf(1)}}}))
		c.Step(2, Memory{Short: short})
		stages, first := runs(c.Step(3, BundleFinished{
			Bundle: id, Outputs: []Routed{{Block: blockOf(1)}, {Block: blockOf(1)}}, Residuals: []Residual{{Block: blockOf(1)}},
		}))
		want := []int{state}
		if !short {
			want = []int{state, src}
		}
		if len(stages) != len(want) || stages[0] != want[0] {
			t.Fatalf("short %v: started bundles of %v, want %v", short, stages, want)
		}
		if !short {
			continue
		}
		if stages, id = runs(c.Step(4, BundleFinished{Bundle: first - BundleID(len(stages)-1)})); len(stages) != 1 || stages[0] != state {
			t.Fatalf("the second queued block: started bundles of %v, want %v", stages, state)
		}
		if stages, _ = runs(c.Step(5, BundleFinished{Bundle: id})); len(stages) != 1 || stages[0] != src {
			t.Fatalf("with the queue empty: started bundles of %v, want the source", stages)
		}
	}
}

// TestWhatWaitsForItsSourceHoldsNothingBack: elements queued for a stage whose side
// input, or whose group's end, is still to come from the same source would wait
// for ever if they held that source back.
func TestWhatWaitsForItsSourceHoldsNothingBack(t *testing.T) {
	p := &graph.Plan{}
	imp := link(p, &graph.Stage{Kind: graph.Impulse})
	src := link(p, &graph.Stage{Kind: graph.SDK, Splittable: true}, imp)
	link(p, &graph.Stage{Kind: graph.SDK, Input: &graph.Input{Keyed: true, Grouping: &graph.Grouping{}}}, src)
	sided := &graph.Stage{Kind: graph.SDK}
	link(p, sided, src)
	sided.SideInputs = []*graph.SideInput{{From: []graph.Edge{connect(p.Stages[src], graph.Target{Stage: sided.Index, SideInput: 0})}}}
	seeds.Each(t, *seedCount, func(seed uint64) {
		s := newSim(p, Config{Shards: 3, Slots: 1 + int(seed%3), BundleElements: 3}, seed)
		s.input = numbers(60)
		s.residual, s.fail = 80, 10
		if acts := s.c.Step(0, Memory{Short: true}); len(acts) != 0 {
			t.Fatalf("%v", acts)
		}
		if err := s.run(0); err != nil {
			t.Fatal(err)
		}
	})
}
