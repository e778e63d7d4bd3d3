package graph

import (
	"fmt"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// expandSplittable takes a splittable DoFn apart:
//
//	E -> pair with restriction -> KV<E,R>
//	  -> split and size -> KV<KV<E,R>,double>
//	  -> (stage boundary) -> process sized elements and restrictions -> outputs
//
// R's coder is the payload's restriction coder; SDKs put the watermark estimator's
// state into it. All three parts have the whole payload and name all side inputs,
// as SDKs expect, but only the last one reads them.
//
// The processing part keeps the transform's id and name, so that its metrics and
// state are those of the transform that the user wrote.
func (w *walk) expandSplittable(l *leaf) error {
	t, main := l.proto, l.inputs[0]
	col := w.comps.GetPcollections()[main.collection]
	if col == nil {
		return l.broken("its input %q is not defined", main.collection)
	}
	if err := w.coders.check(col.GetCoderId()); err != nil {
		return l.broken("collection %q: %w", main.collection, err)
	}
	restriction := l.parDo.GetRestrictionCoderId()
	if err := w.coders.check(restriction); err != nil {
		return l.broken("restriction: %w", err)
	}
	pair := w.coders.kv(col.GetCoderId(), restriction)
	paired := w.addCollection(l.id+"_paired", main.collection, pair)
	sized := w.addCollection(l.id+"_sized", main.collection, w.coders.kv(pair, w.coders.make(urnDouble)))

	steps := []struct{ suffix, name, urn, in, out string }{
		{"_pair", "/PairWithRestriction", urnPair, main.collection, paired},
		{"_split", "/SplitAndSize", urnSplit, paired, sized},
	}
	var ids []string
	for _, s := range steps {
		inputs := maps.Clone(t.GetInputs())
		inputs[main.local] = s.in
		part := &pipepb.PTransform{
			UniqueName:    l.name + s.name,
			Spec:          &pipepb.FunctionSpec{Urn: s.urn, Payload: t.GetSpec().GetPayload()},
			Inputs:        inputs,
			Outputs:       map[string]string{"i0": s.out},
			EnvironmentId: l.env,
			Annotations:   t.GetAnnotations(),
		}
		id := w.freshTransform(l.id + s.suffix)
		w.comps.Transforms[id] = part
		ids = append(ids, id)
		if err := w.addLeaf(id, part, l.env); err != nil {
			return err
		}
	}
	t.Spec.Urn = urnProcessSized
	t.Inputs[main.local] = sized
	w.addBefore(l.id, ids)
	return w.addLeaf(l.id, t, l.env)
}

// unbounded says whether a leaf reads or writes a collection without end.
func (c *compiler) unbounded(l *leaf) bool {
	for _, p := range slices.Concat(l.inputs, l.outputs) {
		if c.comps.Pcollections[p.collection].GetIsBounded() == pipepb.IsBounded_UNBOUNDED {
			return true
		}
	}
	return false
}

// describeTruncation makes the second descriptor of a splittable stage:
//
//	source -> truncate -> sink
//
// It is told what the processing part is told, the side inputs included, which it
// doesn't read.
func (c *compiler) describeTruncation(d *draft, s *Stage) error {
	root := d.leaves[0]
	b := newDescriptor(s.ID + "_truncate")
	t := &Truncation{Descriptor: b, Source: c.freshTransform(s.ID + "_truncate_source"), Sink: c.freshTransform(s.ID + "_truncate_sink")}

	truncate := proto.Clone(s.Descriptor.Transforms[root.id]).(*pipepb.PTransform)
	truncate.UniqueName += "/TruncateAndSize"
	truncate.Spec.Urn = urnTruncate
	out := c.freshCollection(d.collection + "_truncated")
	truncate.Outputs = map[string]string{"i0": out}
	b.Transforms[c.freshTransform(root.id+"_truncate")] = truncate
	c.reachPayload(b, root)

	for _, side := range root.sides {
		c.describeInput(b, side.collection, c.queueCoder(side.collection))
	}
	c.describeInput(b, d.collection, d.sourceCoder)
	truncated := proto.Clone(c.comps.Pcollections[d.collection]).(*pipepb.PCollection)
	truncated.UniqueName = fmt.Sprintf("%s (%s)", truncated.GetUniqueName(), out)
	b.Pcollections[out] = truncated

	source, err := portTransform(t.Source, urnSource, d.sourceCoder)
	if err != nil {
		return err
	}
	source.Outputs = map[string]string{"i0": d.collection}
	b.Transforms[t.Source] = source
	sink, err := portTransform(t.Sink, urnSink, d.inCoder)
	if err != nil {
		return err
	}
	sink.Inputs = map[string]string{"i0": out}
	b.Transforms[t.Sink] = sink
	c.coders.reach(b.Coders, d.sourceCoder)
	c.coders.reach(b.Coders, d.inCoder)
	c.finish(b, d.env)
	s.Truncate = t
	return nil
}

// addBefore puts new transforms before one, in the composite that contains it or
// among the roots. The lists are replaced, not changed: the walk is under way in them.
func (w *walk) addBefore(id string, ids []string) {
	list := &w.pipeline.RootTransformIds
	if parent := w.comps.Transforms[w.parents[id]]; parent != nil {
		list = &parent.Subtransforms
	}
	if i := slices.Index(*list, id); i >= 0 {
		*list = slices.Concat((*list)[:i], ids, (*list)[i:])
	}
}
