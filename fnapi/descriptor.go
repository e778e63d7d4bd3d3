package fnapi

import (
	"fmt"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/protobuf/proto"
)

const (
	urnSource = "beam:runner:source:v1"
	urnSink   = "beam:runner:sink:v1"
)

// descriptor is a bundle descriptor as one worker gets it.
type descriptor struct {
	proto *fnpb.ProcessBundleDescriptor
	// outputs are the streams that a bundle ends: one per sink and timer family.
	// The value is the stream's place in run.ended.
	outputs map[output]int
	// ends are the streams that we end, in one message.
	ends *fnpb.Elements
	// stage is the id of the descriptor that it is a copy of.
	stage string
	// once says that its plans in the Go harness run finalizers only once.
	once bool
}

// output names a stream from the worker.
type output struct {
	transform, family string
	timers            bool
}

func (o output) String() string {
	if o.timers {
		return fmt.Sprintf("timer family %q of transform %q", o.family, o.transform)
	}
	return fmt.Sprintf("transform %q", o.transform)
}

// register returns the worker's copy of the bundle's descriptor, and makes it
// when it is the first bundle of its descriptor.
func (w *worker) register(b *engine.Bundle) (*descriptor, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d := w.stages[b.Descriptor.GetId()]; d != nil {
		return d, nil
	}
	d, err := newDescriptor(b, w.endpoint, w.goSDK)
	if err != nil {
		return nil, err
	}
	w.stages[d.stage] = d
	w.descriptors[d.proto.GetId()] = d
	return d, nil
}

// renew gives the descriptor that a finalized bundle had another id, so that the
// harness makes new plans for it. No bundle runs on the worker.
//
// The Go harness keeps plans and uses them again. A plan that was told to finalize
// gets a new list of callbacks, but its DoFns keep the old list: what they
// register from then on is never called, nor asked for (exec/plan.go, Finalize).
// The harness keeps such a plan for good; it is freed with the worker.
func (w *worker) renew(bundle string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.finalizing[bundle]
	delete(w.finalizing, bundle)
	if d == nil || w.stages[d.stage] != d {
		return
	}
	w.lastRequest++
	fresh := *d
	fresh.proto = proto.CloneOf(d.proto)
	fresh.proto.Id = fmt.Sprintf("%s#%d", d.stage, w.lastRequest)
	delete(w.descriptors, d.proto.GetId())
	w.stages[d.stage] = &fresh
	w.descriptors[fresh.proto.GetId()] = &fresh
}

// wantsFinalize notes that a bundle asked to be finalized.
func (w *worker) wantsFinalize(r *run) {
	if !r.d.once {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finalizing[r.id] = r.d
}

func newDescriptor(b *engine.Bundle, endpoint string, goSDK bool) (*descriptor, error) {
	p := proto.CloneOf(b.Descriptor)
	api := &pipepb.ApiServiceDescriptor{Url: endpoint}
	p.StateApiServiceDescriptor = api
	p.TimerApiServiceDescriptor = api
	d := &descriptor{proto: p, outputs: map[output]int{}, ends: inputEnds(b, goSDK), stage: p.GetId()}
	hasSource := false
	for id, t := range p.GetTransforms() {
		urn := t.GetSpec().GetUrn()
		if urn != urnSource && urn != urnSink {
			d.once = d.once || goSDK && finalizes(t)
			continue
		}
		port := &fnpb.RemoteGrpcPort{}
		if err := proto.Unmarshal(t.GetSpec().GetPayload(), port); err != nil {
			return nil, fmt.Errorf("transform %q: its payload is no RemoteGrpcPort: %w", id, err)
		}
		port.ApiServiceDescriptor = api
		payload, err := proto.Marshal(port)
		if err != nil {
			return nil, fmt.Errorf("transform %q: %w", id, err)
		}
		t.Spec.Payload = payload
		if urn == urnSink {
			d.outputs[output{transform: id}] = len(d.outputs)
		}
		hasSource = hasSource || urn == urnSource && id == b.Source
	}
	if !hasSource {
		return nil, fmt.Errorf("descriptor %q has no source transform %q", p.GetId(), b.Source)
	}
	for _, f := range b.TimerFamilies {
		d.outputs[output{transform: f.Transform, family: f.Family, timers: true}] = len(d.outputs)
	}
	return d, nil
}

// inputEnds is the message that ends a bundle's input, still without the
// bundle's id: the source's stream and each timer family's.
//
// Python and Java wait for the end of every family. The Go harness counts: it
// wants one end for the source and one for each *transform* with timers, and every
// end counts, whatever its family. With two families in a transform it counts
// three where it wants two. When the ends arrive before the bundle is set up,
// it compares only then, finds 3 != 2 and waits forever (harness/datamgr.go,
// makeChannel and PTransformDone). So it gets one end a transform; the other
// families get an empty block, for the harness ends in return just those timer
// streams that it has seen something of.
func inputEnds(b *engine.Bundle, goSDK bool) *fnpb.Elements {
	last := map[string]int{}
	for i, f := range b.TimerFamilies {
		last[f.Transform] = i
	}
	e := &fnpb.Elements{Data: []*fnpb.Elements_Data{{TransformId: b.Source, IsLast: true}}}
	for i, f := range b.TimerFamilies {
		e.Timers = append(e.Timers, &fnpb.Elements_Timers{
			TransformId: f.Transform, TimerFamilyId: f.Family,
			IsLast: !goSDK || last[f.Transform] == i,
		})
	}
	return e
}

// finalizes tells whether a transform is a DoFn that may ask for finalization.
// Any payload that isn't a ParDo's is none.
func finalizes(t *pipepb.PTransform) bool {
	p := &pipepb.ParDoPayload{}
	if err := proto.Unmarshal(t.GetSpec().GetPayload(), p); err != nil {
		return false
	}
	return p.GetRequestsFinalization()
}
