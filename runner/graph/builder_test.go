package graph

import (
	"fmt"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// builder writes pipeline protos by hand. Coders are named by expressions such as
// kv<string,varint>; their ids are the expressions.
type builder struct{ p *pipepb.Pipeline }

func newBuilder() *builder {
	b := &builder{&pipepb.Pipeline{Components: &pipepb.Components{
		Transforms:          make(map[string]*pipepb.PTransform),
		Pcollections:        make(map[string]*pipepb.PCollection),
		WindowingStrategies: make(map[string]*pipepb.WindowingStrategy),
		Coders:              make(map[string]*pipepb.Coder),
		Environments:        make(map[string]*pipepb.Environment),
	}}}
	b.strategy("global", &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: "beam:window_fn:global_windows:v1"},
		WindowCoderId: b.coder("global_window"),
	})
	b.strategy("fixed", &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: "beam:window_fn:fixed_windows:v1"},
		WindowCoderId: b.coder("interval_window"),
	})
	b.strategy("sessions", &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: urnSessions},
		WindowCoderId: b.coder("interval_window"),
		MergeStatus:   pipepb.MergeStatus_NEEDS_MERGE,
	})
	b.strategy("custom", &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: "test:window_fn:v1"},
		WindowCoderId: b.coder("custom_window<mine>"),
	})
	b.strategy("merging", &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: "test:window_fn:v1"},
		WindowCoderId: b.coder("custom_window<mine>"),
		MergeStatus:   pipepb.MergeStatus_NEEDS_MERGE,
	})
	b.strategy("counting", &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: "beam:window_fn:global_windows:v1"},
		WindowCoderId: b.coder("global_window"),
		Trigger: &pipepb.Trigger{Trigger: &pipepb.Trigger_ElementCount_{
			ElementCount: &pipepb.Trigger_ElementCount{ElementCount: 3}}},
	})
	b.strategy("earliest", &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: "beam:window_fn:global_windows:v1"},
		WindowCoderId: b.coder("global_window"),
		OutputTime:    pipepb.OutputTime_EARLIEST_IN_PANE,
	})
	clock := &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterProcessingTime_{AfterProcessingTime: &pipepb.Trigger_AfterProcessingTime{}}}
	always := &pipepb.Trigger{Trigger: &pipepb.Trigger_Always_{Always: &pipepb.Trigger_Always{}}}
	for id, early := range map[string]*pipepb.Trigger{"clocked": clock, "always": always} {
		b.strategy(id, &pipepb.WindowingStrategy{
			WindowFn:      &pipepb.FunctionSpec{Urn: "beam:window_fn:global_windows:v1"},
			WindowCoderId: b.coder("global_window"),
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

// coder adds the coder of an expression and returns its id.
func (b *builder) coder(expr string) string {
	name, rest, composite := strings.Cut(expr, "<")
	c := &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: "beam:coder:" + name + ":v1"}}
	switch name {
	case "lp":
		c.Spec.Urn = urnLengthPrefix
	case "string":
		c.Spec.Urn = "beam:coder:string_utf8:v1"
	case "mine", "other":
		c.Spec = &pipepb.FunctionSpec{Urn: "test:coder:" + name, Payload: []byte(name)}
	}
	if composite {
		rest = strings.TrimSuffix(rest, ">")
		depth, start := 0, 0
		for i := 0; i <= len(rest); i++ {
			switch {
			case i == len(rest) || rest[i] == ',' && depth == 0:
				c.ComponentCoderIds = append(c.ComponentCoderIds, b.coder(rest[start:i]))
				start = i + 1
			case rest[i] == '<':
				depth++
			case rest[i] == '>':
				depth--
			}
		}
	}
	b.p.Components.Coders[expr] = c
	return expr
}

// collection adds a collection that is written name:coder@strategy; coder and
// strategy may be left out. A name that begins with ~ is that of an unbounded
// collection. It returns the name.
func (b *builder) collection(spec string) string {
	spec, strategy, ok := strings.Cut(spec, "@")
	if !ok {
		strategy = "global"
	}
	name, coder, ok := strings.Cut(spec, ":")
	if !ok {
		coder = "bytes"
	}
	name, unbounded := strings.CutPrefix(name, "~")
	bounded := pipepb.IsBounded_BOUNDED
	if unbounded {
		bounded = pipepb.IsBounded_UNBOUNDED
	}
	b.p.Components.Pcollections[name] = &pipepb.PCollection{
		UniqueName: name, CoderId: b.coder(coder), WindowingStrategyId: strategy, IsBounded: bounded,
	}
	return name
}

// add adds a root transform. Inputs and outputs are i0, i1 and so on.
func (b *builder) add(id, urn, env string, payload proto.Message, inputs, outputs []string) *pipepb.PTransform {
	t := &pipepb.PTransform{
		UniqueName:    "The/" + id,
		Spec:          &pipepb.FunctionSpec{Urn: urn},
		Inputs:        make(map[string]string),
		Outputs:       make(map[string]string),
		EnvironmentId: env,
	}
	if payload != nil {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(payload)
		if err != nil {
			panic(err)
		}
		t.Spec.Payload = data
	}
	for i, in := range inputs {
		t.Inputs[fmt.Sprintf("i%d", i)] = in
	}
	for i, out := range outputs {
		t.Outputs[fmt.Sprintf("i%d", i)] = b.collection(out)
	}
	b.p.Components.Transforms[id] = t
	b.p.RootTransformIds = append(b.p.RootTransformIds, id)
	return t
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
	b.add(id, urnParDo, o.env, p, inputs, outputs)
}

// composite puts roots into a composite.
func (b *builder) composite(id, urn string, payload proto.Message, inputs, outputs []string, parts ...string) {
	t := b.add(id, urn, "", payload, inputs, nil)
	for i, out := range outputs {
		t.Outputs[fmt.Sprintf("i%d", i)] = out
	}
	t.Subtransforms = parts
	inside := make(map[string]bool)
	for _, part := range parts {
		inside[part] = true
	}
	var roots []string
	for _, root := range b.p.RootTransformIds {
		if !inside[root] {
			roots = append(roots, root)
		}
	}
	b.p.RootTransformIds = roots
}
