package engine

import (
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// TestWhoReadsStateBackedIterables: the Go SDK always, others by the stage's coder.
func TestWhoReadsStateBackedIterables(t *testing.T) {
	coder := func(urn string, of ...string) *pipepb.Coder {
		return &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: urn}, ComponentCoderIds: of}
	}
	coders := map[string]*pipepb.Coder{
		"plain":   coder("beam:coder:windowed_value:v1", "kv", "w"),
		"kv":      coder("beam:coder:kv:v1", "k", "iter"),
		"iter":    coder("beam:coder:iterable:v1", "v"),
		"backed":  coder("beam:coder:windowed_value:v1", "kvb", "w"),
		"kvb":     coder("beam:coder:kv:v1", "k", "backedI"),
		"backedI": coder(urnStateBackedIterable, "v"),
	}
	for _, c := range []struct {
		name, capability, coder string
		kind                    graph.Kind
		want                    bool
	}{
		{"Go", graphx.URNBaseVersionGo, "plain", graph.SDK, true},
		{"Python", "beam:version:sdk_base:python:x", "plain", graph.SDK, false},
		{"Python, state-backed", "beam:version:sdk_base:python:x", "backed", graph.SDK, true},
		{"the runner itself", graphx.URNBaseVersionGo, "plain", graph.Forward, false},
	} {
		plan := &graph.Plan{Coders: coders, Pipeline: &pipepb.Pipeline{Components: &pipepb.Components{
			Environments: map[string]*pipepb.Environment{"e": {Capabilities: []string{c.capability}}},
		}}}
		s := &graph.Stage{Kind: c.kind, Environment: "e", Input: &graph.Input{Grouping: &graph.Grouping{OutputCoder: c.coder}}}
		if got := readsStateBacked(plan, s); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
