package graph

import (
	"slices"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// liftCombine takes a CombinePerKey apart so that most of the combining happens
// before the grouping:
//
//	KV<K,I> -> precombine -> KV<K,A> -> group -> KV<K,Iterable<A>>
//	        -> merge accumulators -> KV<K,A> -> extract outputs -> KV<K,O>
//
// It is right only where nobody can tell that several inputs became one element.
// A trigger that counts can, or one that fires for each element: it would count accumulators. So can a timestamp
// combiner other than the end of the window, as SDKs give accumulators whatever
// timestamp is at hand. Such combines keep the parts that the SDK wrote down.
func (w *walk) liftCombine(id string, t *pipepb.PTransform, env string) (bool, error) {
	var payload pipepb.CombinePayload
	if err := proto.Unmarshal(t.GetSpec().GetPayload(), &payload); err != nil {
		return false, broken(id, t.GetUniqueName(), "its payload is not a CombinePayload: %w", err)
	}
	in, out := sortedPorts(t.GetInputs())[0], sortedPorts(t.GetOutputs())[0]
	col := w.comps.GetPcollections()[in.collection]
	if col == nil {
		return false, broken(id, t.GetUniqueName(), "its input %q is not defined", in.collection)
	}
	strategy := w.comps.GetWindowingStrategies()[col.GetWindowingStrategyId()]
	if !liftable(strategy) {
		return false, nil
	}
	if err := w.coders.check(col.GetCoderId()); err != nil {
		return false, broken(id, t.GetUniqueName(), "collection %q: %w", in.collection, err)
	}
	if err := w.coders.check(payload.GetAccumulatorCoderId()); err != nil {
		return false, broken(id, t.GetUniqueName(), "accumulator: %w", err)
	}
	if !w.coders.isKV(col.GetCoderId()) {
		return false, nil // The grouping among its parts will say so.
	}
	key, _ := w.coders.parts(col.GetCoderId())
	accumulator := payload.GetAccumulatorCoderId()
	lifted := w.addCollection(id+"_lifted", in.collection, w.coders.kv(key, accumulator))
	grouped := w.addCollection(id+"_grouped", in.collection, w.coders.kv(key, w.coders.iterable(accumulator)))
	merged := w.addCollection(id+"_merged", in.collection, w.coders.kv(key, accumulator))

	t.Subtransforms = nil
	steps := []struct{ suffix, name, urn, in, out string }{
		{"_precombine", "/Precombine", urnPrecombine, in.collection, lifted},
		{"_group", "/Group", urnGroup, lifted, grouped},
		{"_merge", "/Merge", urnMergeAccumulators, grouped, merged},
		{"_extract", "/Extract", urnExtractOutputs, merged, out.collection},
	}
	for _, s := range steps {
		part := &pipepb.PTransform{
			UniqueName:    t.GetUniqueName() + s.name,
			Spec:          &pipepb.FunctionSpec{Urn: s.urn, Payload: t.GetSpec().GetPayload()},
			Inputs:        map[string]string{"i0": s.in},
			Outputs:       map[string]string{"i0": s.out},
			EnvironmentId: env,
			Annotations:   t.GetAnnotations(),
		}
		if s.urn == urnGroup {
			part.Spec.Payload, part.EnvironmentId = nil, ""
		}
		partID := w.freshTransform(id + s.suffix)
		w.comps.Transforms[partID] = part
		t.Subtransforms = append(t.Subtransforms, partID)
		if err := w.addLeaf(partID, part, env); err != nil {
			return false, err
		}
	}
	return true, nil
}

// describeUnlifted makes the descriptor of a stage that precombines without it. SDKs
// gather accumulators by key in a small cache, which costs more than it saves when
// keys seldom come again; only the data can tell.
func describeUnlifted(d *draft, s *Stage) {
	for _, l := range d.leaves {
		if l.urn != urnPrecombine {
			continue
		}
		if s.Unlifted == nil {
			s.Unlifted = proto.Clone(s.Descriptor).(*fnpb.ProcessBundleDescriptor)
			s.Unlifted.Id += "_unlifted"
		}
		s.Unlifted.Transforms[l.id].Spec.Urn = urnConvert
		for _, o := range s.Outputs {
			o.Lifted = o.Lifted || o.Collection == l.outputs[0].collection
		}
	}
}

// liftable says whether a strategy's groupings may get accumulators instead of inputs.
func liftable(s *pipepb.WindowingStrategy) bool {
	switch s.GetOutputTime() {
	case pipepb.OutputTime_LATEST_IN_PANE, pipepb.OutputTime_EARLIEST_IN_PANE:
		return false
	}
	return !countsElements(s.GetTrigger())
}

// countsElements says whether it matters to a trigger how many elements there are, and
// not only that there are some. One that this runner doesn't know may count.
func countsElements(t *pipepb.Trigger) bool {
	any := func(list ...*pipepb.Trigger) bool { return slices.ContainsFunc(list, countsElements) }
	switch t := t.GetTrigger().(type) {
	case nil, *pipepb.Trigger_Default_, *pipepb.Trigger_Never_, *pipepb.Trigger_AfterProcessingTime_, *pipepb.Trigger_AfterSynchronizedProcessingTime_:
		return false
	case *pipepb.Trigger_AfterEndOfWindow_:
		early, late := t.AfterEndOfWindow.GetEarlyFirings(), t.AfterEndOfWindow.GetLateFirings()
		return early != nil && countsElements(early) || late != nil && countsElements(late)
	case *pipepb.Trigger_Repeat_:
		return countsElements(t.Repeat.GetSubtrigger())
	case *pipepb.Trigger_OrFinally_:
		return any(t.OrFinally.GetMain(), t.OrFinally.GetFinally())
	case *pipepb.Trigger_AfterAll_:
		return any(t.AfterAll.GetSubtriggers()...)
	case *pipepb.Trigger_AfterAny_:
		return any(t.AfterAny.GetSubtriggers()...)
	case *pipepb.Trigger_AfterEach_:
		return any(t.AfterEach.GetSubtriggers()...)
	}
	return true
}

// isDefaultTrigger takes a trigger that is not set for the default one.
func isDefaultTrigger(t *pipepb.Trigger) bool {
	return t.GetTrigger() == nil || t.GetDefault() != nil
}
