package engine

import (
	"fmt"
	"testing"

	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// TestNothingIsAllocatedPerElement on the runner's side of a shuffle: ten thousand elements
// more, of the same keys, cost no more allocations than there are blocks more, and the
// doubling of tables and lists.
func TestNothingIsAllocatedPerElement(t *testing.T) {
	const more = 10_000
	elements := func(n int) (all [][]byte) {
		for i := range n {
			all = append(all, kv(1, fmt.Sprintf("key%03d", i%100), "a value of about thirty bytes."))
		}
		return all
	}
	blocks := func(n int) (out []core.Block) {
		for all := elements(n); len(all) > 0; all = all[1000:] {
			out = append(out, block(all[:1000]...))
		}
		return out
	}
	routes := testRoutes(t, &graph.Stage{Input: &graph.Input{Keyed: true}})
	var routed []core.Routed
	g := testGrouper(t, "wkv", nil, limits{256 << 10, more})
	for name, make := range map[string]func(n int) func(){
		"route": func(n int) func() {
			var data []byte
			for _, e := range elements(n) {
				data = append(data, e...)
			}
			return func() { routed, _ = routeOutput(routed[:0], 0, routes, [][]byte{data}, limits{256 << 10, 1 << 30}) }
		},
		"group": func(n int) func() {
			in := blocks(n)
			return func() {
				if _, err := g.group(nil, in); err != nil {
					t.Fatal(err)
				}
			}
		},
		"group and render": func(n int) func() {
			in := blocks(n)
			return func() {
				out, err := g.group(nil, in)
				if err != nil {
					t.Fatal(err)
				}
				for range render(out, nil) {
				}
			}
		},
	} {
		few, many := testing.AllocsPerRun(3, make(more)), testing.AllocsPerRun(3, make(2*more))
		// 0 per element: not one allocation for a hundred of them.
		if perElement := (many - few) / more; perElement > 0.01 {
			t.Errorf("%s: %.4f allocations for an element (%.0f for %d, %.0f for %d)", name, perElement, few, more, many, 2*more)
		}
	}
}
