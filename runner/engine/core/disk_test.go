package core

import (
	"testing"

	"github.com/summerbeam/summerbeam/runner/graph"
)

// TestNothingBeginsOnAFullDisk: neither a bundle nor a TestStream's next event, and all goes
// on when there is room.
func TestNothingBeginsOnAFullDisk(t *testing.T) {
	p := &graph.Plan{}
	imp := link(p, &graph.Stage{Kind: graph.Impulse})
	link(p, &graph.Stage{Kind: graph.SDK, Splittable: true, Unbounded: true}, imp)
	c := New(p, Config{})
	run := of[RunBundle](c.Step(0, Started{}))[0]
	c.Step(1, Disk{Full: true})
	acts := c.Step(2, BundleFinished{Bundle: run.Bundle, Outputs: []Routed{{Block: Block{Count: 1}}}})
	if n := len(of[RunBundle](acts)); n > 0 {
		t.Fatalf("%d bundles begin on a full disk", n)
	}
	if n := len(of[RunBundle](c.Step(3, Disk{}))); n != 1 {
		t.Errorf("%d bundles begin when there is room, want 1", n)
	}
}
