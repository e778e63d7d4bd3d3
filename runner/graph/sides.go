package graph

import (
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// A side input that ends is simply waited for. One that may never end is waited for
// window by window, and which window an element wants is known where the element is:
// at the stage's root. So a transform with such a side input starts a stage, even
// where it could be fused.

// byWindow says that a side input is waited for window by window.
func (c *compiler) byWindow(side port) bool {
	return c.comps.Pcollections[side.collection].GetIsBounded() == pipepb.IsBounded_UNBOUNDED
}

func (c *compiler) anyByWindow(l *leaf) bool {
	for _, side := range l.sides {
		if c.byWindow(side) {
			return true
		}
	}
	return false
}

// sideWindows says how elements wait for a side input; nil if for all of it.
func (c *compiler) sideWindows(side *draftSide, s *Stage, n string) (*SideWindows, error) {
	if !c.byWindow(side.port) {
		return nil, nil
	}
	w := &SideWindows{
		WindowCoder:     c.windowCoder(side.collection),
		AllowedLateness: max(0, c.strategy(side.leaf.inputs[0].collection).GetAllowedLateness()),
		Triggered:       !isDefaultTrigger(c.strategy(side.collection).GetTrigger()),
	}
	if c.coders.byID[w.WindowCoder].GetSpec().GetUrn() == urnGlobalWindow {
		w.Latest = w.Triggered && c.strategy(side.collection).GetAccumulationMode() != pipepb.AccumulationMode_ACCUMULATING
		return w, nil // there is but one
	}
	var err error
	w.Mapping, err = c.mapping(side, s, n)
	return w, err
}

// mapping makes the question to the SDK which windows of a side input belong to
// windows of the main input.
func (c *compiler) mapping(side *draftSide, s *Stage, n string) (*Question, error) {
	l := side.leaf
	fn, err := proto.MarshalOptions{Deterministic: true}.Marshal(l.parDo.GetSideInputs()[side.local].GetWindowMappingFn())
	if err != nil {
		return nil, l.broken("window mapping of side input %q: %w", side.local, err)
	}
	nonce := c.coders.make(urnBytes)
	return c.question(question{
		id: s.ID + "_map" + n, env: s.Environment, name: l.name + "/MapWindows", urn: urnMapWindows, payload: fn,
		asked:    c.coders.kv(nonce, c.windowCoder(l.inputs[0].collection)),
		answered: c.coders.kv(nonce, c.windowCoder(side.collection)),
	})
}

// question is what a Question is made of: a transform, and the coders of what it
// reads and writes.
type question struct {
	id, env, name, urn string
	payload            []byte
	asked, answered    string
}

func (c *compiler) question(in question) (*Question, error) {
	global := c.coders.make(urnGlobalWindow)
	q := &Question{
		Environment: in.env,
		Source:      in.id + "_source",
		Sink:        in.id + "_sink",
		OutputCoder: c.coders.windowed(in.answered, global),
	}
	const from, to = "asked", "answered"
	source, err := portTransform(q.Source, urnSource, c.coders.windowed(in.asked, global))
	if err != nil {
		return nil, err
	}
	source.Outputs = map[string]string{"i0": from}
	sink, err := portTransform(q.Sink, urnSink, q.OutputCoder)
	if err != nil {
		return nil, err
	}
	sink.Inputs = map[string]string{"i0": to}
	transform := &pipepb.PTransform{
		UniqueName:    in.name,
		Spec:          &pipepb.FunctionSpec{Urn: in.urn, Payload: in.payload},
		Inputs:        map[string]string{"i0": from},
		Outputs:       map[string]string{"i0": to},
		EnvironmentId: in.env,
	}
	// SDKs look up the strategy of every collection. Windows are elements here; the
	// elements' own window is the global one.
	own := &pipepb.WindowingStrategy{
		WindowFn:         &pipepb.FunctionSpec{Urn: "beam:window_fn:global_windows:v1"},
		MergeStatus:      pipepb.MergeStatus_NON_MERGING,
		WindowCoderId:    global,
		Trigger:          &pipepb.Trigger{Trigger: &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}},
		AccumulationMode: pipepb.AccumulationMode_DISCARDING,
		OutputTime:       pipepb.OutputTime_END_OF_WINDOW,
		ClosingBehavior:  pipepb.ClosingBehavior_EMIT_IF_NONEMPTY,
		OnTimeBehavior:   pipepb.OnTimeBehavior_FIRE_IF_NONEMPTY,
	}
	q.Descriptor = &fnpb.ProcessBundleDescriptor{
		Id:         in.id,
		Transforms: map[string]*pipepb.PTransform{q.Source: source, in.id: transform, q.Sink: sink},
		Pcollections: map[string]*pipepb.PCollection{
			from: {UniqueName: from, CoderId: in.asked, WindowingStrategyId: "global", IsBounded: pipepb.IsBounded_BOUNDED},
			to:   {UniqueName: to, CoderId: in.answered, WindowingStrategyId: "global", IsBounded: pipepb.IsBounded_BOUNDED},
		},
		WindowingStrategies: map[string]*pipepb.WindowingStrategy{"global": own},
		Coders:              make(map[string]*pipepb.Coder),
		Environments:        map[string]*pipepb.Environment{in.env: c.comps.GetEnvironments()[in.env]},
	}
	c.coders.reach(q.Descriptor.Coders, c.coders.windowed(in.asked, global), q.OutputCoder)
	return q, nil
}
