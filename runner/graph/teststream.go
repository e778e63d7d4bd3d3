package graph

import (
	"math"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"google.golang.org/protobuf/proto"
)

// A TestStream's elements stand in its payload as its coder writes them, but in
// which context depends on the SDK: Java and Python leave out the length of a byte
// string that nothing follows, Go never does. So what could differ gets a length
// prefix, for which both are right: a prefixed value is decoded from just these
// bytes. A KV keeps its key visible and has its value prefixed.

// testElementCoder is the coder in which a TestStream's elements reach workers.
func (c *compiler) testElementCoder(id string) string {
	if c.coders.isKV(id) {
		k, v := c.coders.parts(id)
		if c.coders.same(k, c.coders.wire(k)) {
			return c.coders.kv(k, c.coders.make(urnLengthPrefix, v))
		}
	}
	switch urn := c.coders.byID[id].GetSpec().GetUrn(); {
	case urn == urnBytes || urn == urnString || c.coders.isKV(id) || !coders.Known(urn):
		return c.coders.make(urnLengthPrefix, id)
	}
	return c.coders.wire(id)
}

// asTestStream says that an output's elements are what the payload's coder says.
// Where it differs from the collection's (Python pickles a TestStream's elements and
// makes KVs of the same collection for a stateful DoFn) they are written anew.
func (c *compiler) asTestStream(l *leaf, collection string) bool {
	own := c.coders.wire(l.test.GetCoderId())
	return c.coders.same(own, c.coders.wire(c.comps.Pcollections[collection].GetCoderId()))
}

// isGoCustom says that the coder is one of the Go SDK's own. It writes them with
// their length already, although a TestStream's payload names the coder inside.
func (c *compiler) isGoCustom(id string) bool {
	return c.coders.byID[id].GetSpec().GetUrn() == "beam:go:coder:custom:v1"
}

// TestScript reads the events of a TestStream. It doesn't change.
type TestScript struct {
	leaf *leaf
	// outputs are the places of the outputs that somebody reads, by tag.
	outputs map[string]int
	// prefix says that a length goes in front of each element, or of its value if key is
	// set, which scans the elements' keys.
	prefix bool
	key    *coders.Scanner
}

// testScript prepares to read the script of a TestStream stage whose outputs have their
// places.
func (c *compiler) testScript(d *draft) (*TestScript, error) {
	l := d.leaves[0]
	s := &TestScript{leaf: l, outputs: make(map[string]int)}
	places := make(map[string]int)
	for _, o := range d.outputs {
		places[o.collection] = o.index
	}
	for _, p := range l.outputs {
		if i, read := places[p.collection]; read {
			s.outputs[p.local] = i
		}
	}
	id := l.test.GetCoderId()
	wire := c.testElementCoder(id)
	if c.coders.same(wire, id) || c.isGoCustom(id) {
		return s, nil
	}
	s.prefix = true
	if c.coders.isKV(wire) {
		k, _ := c.coders.parts(id)
		var err error
		if s.key, err = coders.Compile(c.coders.byID, k); err != nil {
			return nil, l.broken("the coder of its keys: %w", err)
		}
	}
	return s, nil
}

// testEvents reads the whole script that stands in the payload.
func (c *compiler) testEvents(s *TestScript) ([]TestEvent, error) {
	var events []TestEvent
	for _, e := range s.leaf.test.GetEvents() {
		ev, matters, err := s.Event(e)
		if err != nil {
			return nil, err
		}
		if matters {
			events = append(events, ev)
		}
	}
	return events, nil
}

// Tags are the names of the TestStream's outputs, in order.
func (s *TestScript) Tags() []string {
	var tags []string
	for _, p := range s.leaf.outputs {
		tags = append(tags, p.local)
	}
	return tags
}

// Event reads one event. It says whether the event matters: what nobody reads doesn't.
func (s *TestScript) Event(e *pipepb.TestStreamPayload_Event) (ev TestEvent, matters bool, err error) {
	switch e := e.GetEvent().(type) {
	case *pipepb.TestStreamPayload_Event_ElementEvent:
		if ev.Output, matters, err = s.output(e.ElementEvent.GetTag()); err != nil {
			return ev, false, err
		}
		for _, el := range e.ElementEvent.GetElements() {
			b, err := s.element(el)
			if err != nil {
				return ev, false, err
			}
			ev.Elements = append(ev.Elements, b)
		}
		return ev, matters && len(ev.Elements) > 0, nil
	case *pipepb.TestStreamPayload_Event_WatermarkEvent:
		if ev.Watermark = e.WatermarkEvent.GetNewWatermark(); ev.Watermark >= coders.MaxTimestamp {
			ev.Watermark = math.MaxInt64
		}
		ev.Output, matters, err = s.output(e.WatermarkEvent.GetTag())
		return ev, matters, err
	case *pipepb.TestStreamPayload_Event_ProcessingTimeEvent:
		if ev.Advance = e.ProcessingTimeEvent.GetAdvanceDuration(); ev.Advance < 0 {
			return ev, false, s.leaf.broken("processing time goes back by %d ms", -ev.Advance)
		}
		return ev, ev.Advance > 0, nil
	}
	return ev, false, s.leaf.broken("an event of an unknown kind")
}

// output finds an output by its tag; one that nobody reads is not found.
func (s *TestScript) output(tag string) (place int, read bool, err error) {
	for _, p := range s.leaf.outputs {
		if p.local == tag || len(s.leaf.outputs) == 1 {
			place, read = s.outputs[p.local]
			return place, read, nil
		}
	}
	return 0, false, s.leaf.broken("an event for output %q, which it doesn't have", tag)
}

// element makes a windowed value of an element in the payload.
func (s *TestScript) element(el *pipepb.TestStreamPayload_TimestampedElement) ([]byte, error) {
	value := el.GetEncodedElement()
	b := coders.AppendHeader(nil, el.GetTimestamp(), nil, 1, []byte{coders.PaneNoFiring})
	if s.key != nil {
		n, err := s.key.Skip(value)
		if err != nil {
			return nil, s.leaf.broken("an element's key: %w", err)
		}
		b = append(b, value[:n]...)
		value = value[n:]
	}
	if s.prefix {
		b = coders.AppendLength(b, len(value))
	}
	return append(b, value...), nil
}

// readTestStream parses a TestStream's payload.
func (l *leaf) readTestStream(b []byte) error {
	l.test = &pipepb.TestStreamPayload{}
	if err := proto.Unmarshal(b, l.test); err != nil {
		return l.broken("its payload is not a TestStreamPayload: %w", err)
	}
	return nil
}
