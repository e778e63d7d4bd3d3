package core

import (
	"testing"

	"github.com/summerbeam/summerbeam/runner/graph"
)

// TestATestStreamWaitsForRoom: nothing can be started as long as an epoch must be written first, and yet
// the job is not quiescent. A script that went on to its end would make what is behind it late.
func TestATestStreamWaitsForRoom(t *testing.T) {
	p := &graph.Plan{}
	events := []graph.TestEvent{{Elements: [][]byte{{1}}}, {Elements: [][]byte{{2}}}, {Elements: [][]byte{{3}}}}
	ts := link(p, &graph.Stage{Kind: graph.TestStream, TestEvents: events})
	link(p, &graph.Stage{Kind: graph.SDK, Stateful: true, Input: &graph.Input{Keyed: true}}, ts)
	c := New(p, Config{Shards: 1, Ephemeral: true, EpochBytes: 10})
	acts := c.Step(0, Started{})
	for range 2 { // the second fills the layer above the one that is being written
		_, id := runs(acts)
		_, id = runs(c.Step(0, BundleFinished{Bundle: id, Outputs: []Routed{{Block: blockOf(1)}}}))
		acts = c.Step(0, BundleFinished{Bundle: id, StateBytes: 10})
	}
	if n := c.stages[ts].test.next; n != 2 || len(of[RunBundle](acts)) != 0 {
		t.Fatalf("%d events have happened: %v", n, acts)
	}
	acts = c.Step(0, EpochDurable{Epoch: 1})
	if run := of[RunBundle](acts); len(run) != 1 || run[0].Stage != ts {
		t.Errorf("the next event does not happen when there is room: %v", acts)
	}
}
