package graph

import (
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
