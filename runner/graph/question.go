package graph

import (
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

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
