package testkit

import (
	"fmt"
	"slices"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// Builder writes pipeline protos by hand. Coders are named by expressions such as
// kv<string_utf8,varint>, the last parts of their URNs; their ids are the expressions.
type Builder struct{ P *pipepb.Pipeline }

// NewBuilder makes a pipeline that has the windowing strategy "global" and no more.
func NewBuilder() *Builder {
	b := &Builder{&pipepb.Pipeline{Components: &pipepb.Components{
		Transforms:          make(map[string]*pipepb.PTransform),
		Pcollections:        make(map[string]*pipepb.PCollection),
		WindowingStrategies: make(map[string]*pipepb.WindowingStrategy),
		Coders:              make(map[string]*pipepb.Coder),
		Environments:        make(map[string]*pipepb.Environment),
	}}}
	b.P.Components.WindowingStrategies["global"] = &pipepb.WindowingStrategy{
		WindowFn:      &pipepb.FunctionSpec{Urn: "beam:window_fn:global_windows:v1"},
		WindowCoderId: b.Coder("global_window"),
	}
	return b
}

// Coder adds the coder of an expression and returns its id. "string" and "lp" are short for
// string_utf8 and length_prefix; "mine" and "other" are coders that no runner knows.
func (b *Builder) Coder(expr string) string {
	name, rest, composite := strings.Cut(expr, "<")
	c := &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: "beam:coder:" + name + ":v1"}}
	switch name {
	case "lp":
		c.Spec.Urn = "beam:coder:length_prefix:v1"
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
				c.ComponentCoderIds = append(c.ComponentCoderIds, b.Coder(rest[start:i]))
				start = i + 1
			case rest[i] == '<':
				depth++
			case rest[i] == '>':
				depth--
			}
		}
	}
	b.P.Components.Coders[expr] = c
	return expr
}

// Collection adds a collection that is written name:coder@strategy; coder ("bytes") and
// strategy ("global") may be left out. A name that begins with ~ is that of an unbounded
// collection. It returns the name.
func (b *Builder) Collection(spec string) string {
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
	b.P.Components.Pcollections[name] = &pipepb.PCollection{
		UniqueName: name, CoderId: b.Coder(coder), WindowingStrategyId: strategy, IsBounded: bounded,
	}
	return name
}

// Add adds a root transform. Inputs and outputs are called i0, i1 and so on; the outputs are
// written as for Collection.
func (b *Builder) Add(id, urn, env string, payload proto.Message, inputs, outputs []string) *pipepb.PTransform {
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
		t.Outputs[fmt.Sprintf("i%d", i)] = b.Collection(out)
	}
	b.P.Components.Transforms[id] = t
	b.P.RootTransformIds = append(b.P.RootTransformIds, id)
	return t
}

// Composite makes roots the parts of one.
func (b *Builder) Composite(id, urn string, payload proto.Message, inputs, outputs []string, parts ...string) {
	t := b.Add(id, urn, "", payload, inputs, nil)
	for i, out := range outputs {
		t.Outputs[fmt.Sprintf("i%d", i)] = out
	}
	t.Subtransforms = parts
	b.P.RootTransformIds = slices.DeleteFunc(b.P.RootTransformIds, func(root string) bool { return slices.Contains(parts, root) })
}
