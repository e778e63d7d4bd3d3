package graph

import (
	"fmt"
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

// testEvents reads the script of a TestStream stage whose outputs have their places.
func (c *compiler) testEvents(d *draft) ([]TestEvent, error) {
	l := d.leaves[0]
	outputs := make(map[string]int)
	for _, o := range d.outputs {
		outputs[o.collection] = o.index
	}
	output := func(tag string) (int, bool, error) {
		for _, p := range l.outputs {
			if p.local == tag || len(l.outputs) == 1 {
				i, read := outputs[p.collection]
				return i, read, nil
			}
		}
		return 0, false, l.broken("an event for output %q, which it doesn't have", tag)
	}
	var events []TestEvent
	for _, e := range l.test.GetEvents() {
		var ev TestEvent
		var read bool
		var err error
		switch e := e.GetEvent().(type) {
		case *pipepb.TestStreamPayload_Event_ElementEvent:
			if ev.Output, read, err = output(e.ElementEvent.GetTag()); err != nil {
				return nil, err
			}
			for _, el := range e.ElementEvent.GetElements() {
				b, err := c.testElement(l, el)
				if err != nil {
					return nil, err
				}
				ev.Elements = append(ev.Elements, b)
			}
			read = read && len(ev.Elements) > 0
		case *pipepb.TestStreamPayload_Event_WatermarkEvent:
			if ev.Output, read, err = output(e.WatermarkEvent.GetTag()); err != nil {
				return nil, err
			}
			if ev.Watermark = e.WatermarkEvent.GetNewWatermark(); ev.Watermark >= coders.MaxTimestamp {
				ev.Watermark = math.MaxInt64
			}
		case *pipepb.TestStreamPayload_Event_ProcessingTimeEvent:
			if ev.Advance = e.ProcessingTimeEvent.GetAdvanceDuration(); ev.Advance < 0 {
				return nil, l.broken("processing time goes back by %d ms", -ev.Advance)
			}
			read = ev.Advance > 0
		default:
			return nil, l.broken("an event of an unknown kind")
		}
		// What nobody reads needs no event.
		if read {
			events = append(events, ev)
		}
	}
	return events, nil
}

// testElement makes a windowed value of an element in the payload.
func (c *compiler) testElement(l *leaf, el *pipepb.TestStreamPayload_TimestampedElement) ([]byte, error) {
	id := l.test.GetCoderId()
	wire := c.testElementCoder(id)
	value := el.GetEncodedElement()
	b := coders.AppendHeader(nil, el.GetTimestamp(), nil, 1, []byte{coders.PaneNoFiring})
	switch {
	case c.coders.same(wire, id), c.isGoCustom(id):
	case c.coders.isKV(wire):
		k, _ := c.coders.parts(id)
		scan, err := coders.Compile(c.coders.byID, k)
		if err != nil {
			return nil, l.broken("the coder of its keys: %w", err)
		}
		n, err := scan.Skip(value)
		if err != nil {
			return nil, l.broken("an element's key: %w", err)
		}
		b = append(b, value[:n]...)
		value = value[n:]
		b = coders.AppendLength(b, len(value))
	default:
		b = coders.AppendLength(b, len(value))
	}
	b = append(b, value...)
	return b, nil
}

// readTestStream parses a TestStream's payload.
func (l *leaf) readTestStream(b []byte) error {
	l.test = &pipepb.TestStreamPayload{}
	if err := proto.Unmarshal(b, l.test); err != nil {
		return l.broken("its payload is not a TestStreamPayload: %w", err)
	}
	return nil
}

// testStreamService is the reason against a TestStream that asks a service for its
// events.
func testStreamService(_ *compiler, l *leaf) []string {
	if url := l.test.GetEndpoint().GetUrl(); url != "" {
		return []string{fmt.Sprintf("a TestStream that takes its events from the service at %s", url)}
	}
	return nil
}
