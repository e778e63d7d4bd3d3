package core

import (
	"fmt"

	"github.com/summerbeam/summerbeam/runner/graph"
)

// testStream plays a TestStream's script. An event happens only when the job is
// quiescent: nothing runs, and nothing can be started. So all that the event
// before it has caused, timers included, is over.
//
// A TestStream without a script asks a service for an event when it has come to its turn,
// and waits for it. The driver asks, and answers with TestEvent.
type testStream struct {
	events []graph.TestEvent
	next   int
	// served: events come from a service, until closed. asked says that one is due.
	served, closed, asked bool
	// watermarks of each output (ms).
	watermarks []int64
}

func newTestStream(p *graph.Stage) *testStream {
	t := &testStream{events: p.TestEvents, watermarks: make([]int64, len(p.Outputs)), served: p.TestService != ""}
	for i := range t.watermarks {
		t.watermarks[i] = MinTime
	}
	return t
}

func (t *testStream) over() bool { return t.next > len(t.events) }

// end drops what is left of the script.
func (t *testStream) end() { t.next, t.closed = max(t.next, len(t.events)), true }

// waits says that the next event must come from the service first.
func (t *testStream) waits() bool { return t.served && !t.closed && t.next >= len(t.events) }

// minWatermark is what the stage as a whole has reached.
func (t *testStream) minWatermark() int64 {
	m := int64(MaxTime)
	if !t.over() {
		m = MinTime
	}
	for _, w := range t.watermarks {
		m = min(m, w)
	}
	return m
}

// nextTestEvent lets the next event of the first TestStream that is not over
// happen. It reports false if there is none. One step behind the last event the
// outputs' watermarks go to the end of time, whatever the script has said.
func (c *Core) nextTestEvent() bool {
	for i := range c.stages {
		s := &c.stages[i]
		if s.test == nil || s.test.over() {
			continue
		}
		t := s.test
		if t.waits() {
			// Streams play one after the other: what another would do now depends on what
			// this one says.
			if !t.asked {
				t.asked = true
				c.do(AskTestEvent{Stage: i})
			}
			return false
		}
		t.next++
		if t.over() {
			for o := range t.watermarks {
				t.watermarks[o] = MaxTime
			}
			c.moveWatermarks()
			return true
		}
		ev := &t.events[t.next-1]
		switch {
		case len(ev.Elements) > 0:
			// The driver routes them, as a bundle of this stage.
			b := Block{Count: int64(len(ev.Elements)), Hold: MinTime, Payload: t.next - 1}
			if t.served {
				b.Payload = ev
			}
			s.inbox.push(0, b)
		case ev.Advance > 0:
			c.moved += min(ev.Advance, MaxTime-c.moved-c.cfg.StartMillis)
		default:
			t.watermarks[ev.Output] = max(t.watermarks[ev.Output], ev.Watermark)
			c.moveWatermarks()
		}
		return true
	}
	return c.jump()
}

// testEvent takes an event that the service has told.
func (c *Core) testEvent(ev TestEvent) {
	s := &c.stages[ev.Stage]
	t := s.test
	t.asked = false
	switch {
	case ev.Err != nil:
		c.stop(fmt.Errorf("stage %s: TestStream: %w", s.plan.ID, ev.Err))
	case t.closed: // by a drain
	case ev.Event == nil:
		t.closed = true
	default:
		// A new slice: blocks point into the old one, and nobody needs what was before.
		t.events, t.next = []graph.TestEvent{*ev.Event}, 0
	}
}

// jump moves processing time to the next timer in that domain once all TestStreams
// are over: nobody else moves it, and without it such a timer would never fire.
func (c *Core) jump() bool {
	next := c.nextProcessing()
	if !c.virtual || next == MaxTime || next <= c.processing() {
		return false
	}
	c.moved = next - c.cfg.StartMillis
	return true
}
