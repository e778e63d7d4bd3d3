package graph

import (
	"fmt"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/internal/testkit"
)

// builder writes pipeline protos by hand, with the windowing strategies of the scripts.
type builder struct {
	*testkit.Builder
	p *pipepb.Pipeline
}

func newBuilder() *builder {
	kit := testkit.NewBuilder()
	b := &builder{kit, kit.P}
	b.strategy("fixed", &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: "beam:window_fn:fixed_windows:v1"},
		WindowCoderId: b.Coder("interval_window"),
	})
	b.strategy("sessions", &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: urnSessions},
		WindowCoderId: b.Coder("interval_window"),
		MergeStatus:   pipepb.MergeStatus_NEEDS_MERGE,
	})
	b.strategy("custom", &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: "test:window_fn:v1"},
		WindowCoderId: b.Coder("custom_window<mine>"),
	})
	b.strategy("merging", &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: "test:window_fn:v1"},
		WindowCoderId: b.Coder("custom_window<mine>"),
		MergeStatus:   pipepb.MergeStatus_NEEDS_MERGE,
	})
	b.strategy("counting", &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: "beam:window_fn:global_windows:v1"},
		WindowCoderId: b.Coder("global_window"),
		Trigger: &pipepb.Trigger{Trigger: &pipepb.Trigger_ElementCount_{
			ElementCount: &pipepb.Trigger_ElementCount{ElementCount: 3}}},
	})
	b.strategy("earliest", &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: "beam:window_fn:global_windows:v1"},
		WindowCoderId: b.Coder("global_window"),
		OutputTime:    pipepb.OutputTime_EARLIEST_IN_PANE,
	})
	clock := &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterProcessingTime_{AfterProcessingTime: &pipepb.Trigger_AfterProcessingTime{}}}
	always := &pipepb.Trigger{Trigger: &pipepb.Trigger_Always_{Always: &pipepb.Trigger_Always{}}}
	for id, early := range map[string]*pipepb.Trigger{"clocked": clock, "always": always} {
		b.strategy(id, &pipepb.WindowingStrategy{
			WindowFn:      &pipepb.FunctionSpec{Urn: "beam:window_fn:global_windows:v1"},
			WindowCoderId: b.Coder("global_window"),
			Trigger: &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterEndOfWindow_{
				AfterEndOfWindow: &pipepb.Trigger_AfterEndOfWindow{EarlyFirings: &pipepb.Trigger{Trigger: &pipepb.Trigger_Repeat_{
					Repeat: &pipepb.Trigger_Repeat{Subtrigger: early}}}}}},
		})
	}
	return b
}

func (b *builder) strategy(id string, s *pipepb.WindowingStrategy) {
	b.p.Components.WindowingStrategies[id] = s
}

func (b *builder) env(ids ...string) {
	for _, id := range ids {
		b.p.Components.Environments[id] = &pipepb.Environment{Urn: "beam:env:external:v1"}
	}
}

// parDo describes a ParDo; sides maps collections to patterns' last names.
type parDo struct {
	env   string
	sides []string
	edit  func(*pipepb.ParDoPayload)
}

func (b *builder) parDo(id string, o parDo, in string, outputs ...string) {
	p := &pipepb.ParDoPayload{
		DoFn:       &pipepb.FunctionSpec{Urn: "test:dofn:v1"},
		SideInputs: make(map[string]*pipepb.SideInput),
	}
	inputs := []string{in}
	for i, side := range o.sides {
		collection, pattern, ok := strings.Cut(side, ":")
		if !ok {
			pattern = "iterable"
		}
		inputs = append(inputs, collection)
		p.SideInputs[fmt.Sprintf("i%d", i+1)] = &pipepb.SideInput{
			AccessPattern: &pipepb.FunctionSpec{Urn: "beam:side_input:" + pattern + ":v1"},
		}
	}
	if o.edit != nil {
		o.edit(p)
	}
	b.Add(id, urnParDo, o.env, p, inputs, outputs)
}
