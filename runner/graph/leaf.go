package graph

import (
	"fmt"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// leaf is a transform that is compiled as one: a primitive, or a composite that
// the runner replaces as a whole.
type leaf struct {
	id   string
	name string
	urn  string
	kind leafKind
	// env is the environment that runs it; empty unless kind is sdkLeaf.
	env string
	// proto is the compiler's own and may be changed.
	proto *pipepb.PTransform
	// parDo is the parsed payload if it holds a ParDoPayload.
	parDo *pipepb.ParDoPayload
	// test is the parsed payload of a TestStream.
	test *pipepb.TestStreamPayload
	// accumulator is the coder in a CombinePayload.
	accumulator string
	payload     payloadKind
	// inputs are the main inputs: one, but for a Flatten any number, ordered by
	// local name. The same collection may be there twice.
	inputs []port
	// sides are ordered by local name, outputs too.
	sides   []port
	outputs []port
	// unread are side inputs that the transform names but doesn't look up. Making
	// and splitting restrictions is user code that sees the element only, in all
	// SDKs; yet their workers want to find what the payload names.
	unread []port
	// pos is its place in the topological order.
	pos int
}

// port is a collection as a transform names it.
type port struct{ local, collection string }

type leafKind int

const (
	sdkLeaf leafKind = iota
	impulseLeaf
	groupLeaf
	flattenLeaf
	redistributeLeaf
	testStreamLeaf
	// unknownLeaf is a transform that nothing here can run. It takes part in the
	// checks, so that all that is wrong with a pipeline comes in one message.
	unknownLeaf
)

func isRedistribute(urn string) bool {
	return urn == urnReshuffle || urn == urnRedistributeByKey || urn == urnRedistributeArbitrarily
}

func (l *leaf) broken(format string, args ...any) error {
	return broken(l.id, l.name, format, args...)
}

// startsStage says that the leaf can't be fused below its producer: a key's
// state needs the key's elements routed to one shard, an SDK splits only what
// stands right below its source, and only what is queued can be durable.
func (l *leaf) startsStage() bool {
	return l.stateful() || l.urn == urnProcessSized || l.stableInput()
}

// stableInput says that whatever the leaf reads must be the same when it reads it
// again: elements are handed to it when they are durable. The Go SDK can't state that
// requirement, so an annotation of the DoFn does for it, too.
func (l *leaf) stableInput() bool {
	if l.urn != urnParDo && l.urn != urnProcessSized {
		return false
	}
	_, annotated := l.proto.GetAnnotations()[AnnotationStableInput]
	return annotated || l.parDo.GetRequiresStableInput()
}

// timeSorted says that the leaf wants each key's elements in the order of their
// timestamps.
func (l *leaf) timeSorted() bool {
	return l.urn == urnParDo && l.parDo.GetRequiresTimeSortedInput()
}

// AnnotationStableInput is the annotation of a DoFn that asks for stable input. Its
// value has no meaning.
const AnnotationStableInput = "summerbeam:stable_input:v1"

func (l *leaf) stateful() bool {
	// Of a splittable DoFn's parts only the last one runs user code with state.
	if l.parDo == nil || l.urn == urnPair || l.urn == urnSplit || l.urn == urnTruncate {
		return false
	}
	return len(l.parDo.GetStateSpecs()) > 0 || len(l.parDo.GetTimerFamilySpecs()) > 0
}

// newLeaf reads a transform that has an entry in the pipeline. env is the nearest
// environment of it and its enclosing composites.
func newLeaf(id string, t *pipepb.PTransform, env string, envs map[string]*pipepb.Environment) (*leaf, error) {
	l := &leaf{id: id, name: t.GetUniqueName(), urn: t.GetSpec().GetUrn(), proto: t}
	if l.name == "" {
		l.name = id
	}
	l.outputs = sortedPorts(t.GetOutputs())
	switch {
	case l.urn == urnImpulse:
		l.kind = impulseLeaf
	case l.urn == urnGroup:
		l.kind = groupLeaf
	case l.urn == urnFlatten:
		l.kind = flattenLeaf
	case isRedistribute(l.urn):
		l.kind = redistributeLeaf
	case l.urn == urnTestStream:
		l.kind = testStreamLeaf
		if err := l.readTestStream(t.GetSpec().GetPayload()); err != nil {
			return nil, err
		}
	case executable[l.urn] != unknownPayload, slices.Contains(envs[env].GetCapabilities(), l.urn):
		l.kind, l.env, l.payload = sdkLeaf, env, executable[l.urn]
	default:
		l.kind = unknownLeaf
	}
	if err := l.readPayload(t.GetSpec().GetPayload()); err != nil {
		return nil, err
	}
	ins := sortedPorts(t.GetInputs())
	for _, in := range ins {
		if _, ok := l.parDo.GetSideInputs()[in.local]; ok {
			l.sides = append(l.sides, in)
		} else {
			l.inputs = append(l.inputs, in)
		}
	}
	for _, local := range slices.Sorted(maps.Keys(l.parDo.GetSideInputs())) {
		if _, ok := t.GetInputs()[local]; !ok {
			return nil, l.broken("side input %q is not among its inputs", local)
		}
	}
	if l.urn == urnPair || l.urn == urnSplit || l.urn == urnTruncate {
		l.sides, l.unread = nil, l.sides
	}
	return l, l.checkPorts(envs)
}

func (l *leaf) readPayload(b []byte) error {
	var m proto.Message
	switch l.payload {
	case parDoPayload:
		l.parDo = &pipepb.ParDoPayload{}
		m = l.parDo
	case combinePayload:
		m = &pipepb.CombinePayload{}
	case windowIntoPayload:
		m = &pipepb.WindowIntoPayload{}
	case functionPayload:
		m = &pipepb.FunctionSpec{}
	default:
		return nil
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return l.broken("its payload is not a %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	if c, ok := m.(*pipepb.CombinePayload); ok {
		l.accumulator = c.GetAccumulatorCoderId()
	}
	return nil
}

func (l *leaf) checkPorts(envs map[string]*pipepb.Environment) error {
	in, out := 1, 1
	switch l.kind {
	case unknownLeaf:
		return nil
	case flattenLeaf:
		in = -1
	case impulseLeaf:
		in = 0
	case testStreamLeaf:
		in, out = 0, -1
	case sdkLeaf:
		out = -1
		if l.env == "" {
			return l.broken("it needs a worker but names no environment")
		}
		if envs[l.env] == nil {
			return l.broken("its environment %q is not defined", l.env)
		}
	}
	if in >= 0 && len(l.inputs) != in {
		return l.broken("it has %d main inputs, want %d", len(l.inputs), in)
	}
	if out >= 0 && len(l.outputs) != out {
		return l.broken("it has %d outputs, want %d", len(l.outputs), out)
	}
	return nil
}

// sortedPorts orders a transform's inputs or outputs by local name. Names with
// numbers, as the Go SDK makes them (i0 .. i10), are in the order of the numbers.
func sortedPorts(m map[string]string) []port {
	ports := make([]port, 0, len(m))
	for local, collection := range m {
		ports = append(ports, port{local, collection})
	}
	slices.SortFunc(ports, func(a, b port) int {
		if len(a.local) != len(b.local) {
			return len(a.local) - len(b.local)
		}
		if a.local < b.local {
			return -1
		}
		return 1
	})
	return ports
}

func (k leafKind) String() string {
	switch k {
	case sdkLeaf:
		return "sdk"
	case impulseLeaf:
		return "impulse"
	case groupLeaf:
		return "group"
	case flattenLeaf:
		return "flatten"
	case redistributeLeaf:
		return "redistribute"
	case unknownLeaf:
		return "unknown"
	}
	return fmt.Sprintf("leafKind(%d)", int(k))
}
