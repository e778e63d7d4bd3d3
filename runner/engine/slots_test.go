package engine

import (
	"maps"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// TestSlotsOutliveAPlan: an owner keeps its number when others come and go before it; a
// number is given to one owner only.
func TestSlotsOutliveAPlan(t *testing.T) {
	plan := func(transforms ...string) *graph.Plan {
		p := &graph.Plan{Pipeline: &pipepb.Pipeline{}}
		for i, name := range transforms {
			p.Stages = append(p.Stages, &graph.Stage{
				Index: i, Transforms: []string{name}, Stateful: true,
				Input:      &graph.Input{Grouping: &graph.Grouping{Transform: name + "/group"}},
				SideInputs: []*graph.SideInput{{Transform: name, Local: "i1"}},
			})
		}
		return p
	}
	first, err := newSlots(plan("a", "b"), nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := newSlots(plan("c", "b", "d"), first)
	if err != nil {
		t.Fatal(err)
	}
	taken := make(map[int]string)
	for owner, n := range second {
		if other, ok := taken[n]; ok {
			t.Errorf("%q and %q have slot %d", owner, other, n)
		}
		taken[n] = owner
		if old, ok := first[owner]; ok && old != n {
			t.Errorf("%q has moved from %d to %d", owner, old, n)
		}
	}
	if len(second) != 9 {
		t.Errorf("%d owners, want 9: %v", len(second), second)
	}
	if again, err := newSlots(plan("c", "b", "d"), second); err != nil || !maps.Equal(again, second) {
		t.Errorf("the same plan has %v, had %v", again, second)
	}
}
