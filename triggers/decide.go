package triggers

import (
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/internal/coders"
)

// Outcome is what is to be done with a key and window.
type Outcome struct {
	// Fire says to emit the buffered elements, be there any or none, as Pane, at
	// Timestamp.
	Fire bool
	Pane coders.Pane
	// Timestamp is where the strategy's output time combiner puts the pane, by those of
	// its elements that were not behind the output watermark when they came; the end of
	// the window if all were.
	Timestamp int64
	// Discard says to clear the buffer, after it was emitted.
	Discard bool
	// Finished says that the trigger has finished: further elements are dropped. The
	// state is kept to remember that.
	Finished bool
	// Expired says that the window is gone: its State has been reset, and nothing need
	// be kept of it.
	Expired bool
}

// Element tells of an element with timestamp ts. It returns false if the element is to
// be dropped, since the trigger has finished. It is the caller who drops elements of
// windows that are Late.
func (s *Strategy) Element(st *State, w Window, ts int64, now Now) bool {
	return s.Elements(st, w, 1, ts, ts, now)
}

// Elements tells of n elements at once, n above 0, with timestamps from first to last.
// If they may come Together, it does what Element does for each. If not, a timestamp
// behind the output watermark counts as on it.
func (s *Strategy) Elements(st *State, w Window, n int, first, last int64, now Now) bool {
	if st.closed {
		return false
	}
	st.grow(s)
	st.used, st.pending, st.filled = true, true, true
	s.holdFor(st, w, first, last, now)
	s.arrive(0, st, int64(n), now.Processing)
	return true
}

// holdFor holds the watermark for elements that came: at the timestamp of their pane if
// the watermark is not past it, and a timer at the end of the window will release it.
func (s *Strategy) holdFor(st *State, w Window, first, last int64, now Now) {
	switch s.output {
	case pipepb.OutputTime_EARLIEST_IN_PANE:
		if last >= now.Output {
			first = max(first, now.Output)
		}
		last = first
	case pipepb.OutputTime_END_OF_WINDOW:
		last = w.Max
	}
	if last < now.Output || passed(now.Watermark, w.Max) {
		st.extra = true
		return
	}
	s.combine(st, last)
}

// combine makes t count for the timestamp of the next pane.
func (s *Strategy) combine(st *State, t int64) {
	switch {
	case !st.held:
	case s.output == pipepb.OutputTime_EARLIEST_IN_PANE:
		t = min(t, st.hold)
	case s.output == pipepb.OutputTime_LATEST_IN_PANE:
		t = max(t, st.hold)
	}
	st.held, st.hold = true, t
}

// Decide says what is to be done after elements came, windows merged or a clock moved.
// It is to be called until it fires nothing more: a window may end and expire in one
// step of the watermark.
//
// The trigger is asked only if something happened since it last was: so it doesn't
// matter how often Decide is called. A window whose end is also its expiry gets one
// pane there, the last, whether its trigger fires or not, as in Java.
func (s *Strategy) Decide(st *State, w Window, now Now) Outcome {
	expired := s.Late(w, now)
	switch {
	case st.closed && expired, !st.used:
		st.Reset()
		return Outcome{Expired: expired}
	case st.closed:
		return Outcome{Finished: true}
	}
	news := s.advance(st, w, now)
	if expired && (!news || s.Expiry(w) == w.Max) {
		return s.expire(st, w, now)
	}
	if !news || !s.ready(0, st, st.ended) {
		if expired {
			return s.expire(st, w, now)
		}
		return Outcome{}
	}
	s.fire(0, st, st.ended)
	out := s.pane(st, w, now, st.has(0), s.endAlways)
	switch {
	case expired && !out.Fire:
		return s.expire(st, w, now)
	case out.Finished:
		st.close()
	case s.closeAlways:
		st.extra = true
	}
	return out
}

// advance takes note of where the clocks are, and says whether there is any reason to
// ask the trigger.
func (s *Strategy) advance(st *State, w Window, now Now) (news bool) {
	news = st.pending
	st.pending = false
	if !st.ended && passed(now.Watermark, w.Max) {
		st.ended, news = true, true
	}
	for _, wt := range s.waits {
		clock := now.Processing
		if wt.synchronized {
			clock = now.Synchronized
		}
		if t := st.slots[wt.slot]; t != reached && t != idle && t <= clock {
			st.slots[wt.slot], news = reached, true
		}
	}
	return news
}

// expire emits the last pane, if there is to be one.
func (s *Strategy) expire(st *State, w Window, now Now) Outcome {
	// Where there is time between the end and the expiry the output watermark is past
	// the window by now, unless it is held in there. If the watermark has jumped over
	// both it only does not know yet. Java takes it as it is, and makes an on-time pane
	// of a jump and a late one, or none, of two steps.
	if !st.held && s.Expiry(w) > w.Max {
		now.Output = max(now.Output, after(w.Max))
	}
	out := s.pane(st, w, now, true, s.endAlways && (!s.endFires || s.ready(0, st, st.ended)))
	out.Expired = true
	st.Reset()
	return out
}

// pane closes the current pane of st and returns it, to be emitted if it has elements or
// is asked for even if it has none; onTime says if it is when it is the on-time pane.
func (s *Strategy) pane(st *State, w Window, now Now, last, onTime bool) Outcome {
	out := Outcome{Finished: last, Discard: last || s.discarding, Timestamp: w.Max}
	if st.held {
		out.Timestamp = st.hold
	}
	p := coders.Pane{First: st.panes == 0, Last: last, Index: st.panes, NonSpeculative: st.settled}
	switch {
	case w.Max < now.Output, st.settled > 0:
		p.Timing = coders.Late
	case passed(now.Watermark, w.Max):
		p.Timing = coders.OnTime
	default:
		p.Timing, p.NonSpeculative = coders.Early, -1
	}
	filled := st.filled
	st.filled, st.held, st.extra = false, false, false
	if !filled && !(onTime && p.Timing == coders.OnTime) && !(last && s.closeAlways) {
		return out
	}
	out.Fire, out.Pane = true, p
	st.panes++
	if p.Timing != coders.Early {
		st.settled++
	}
	return out
}

// Wakeup is when Decide must be called next: as soon as one of the clocks has got to
// its time here, or gone past it.
type Wakeup struct{ Watermark, Processing, Synchronized int64 }

// Wake returns when Decide must be called next if no element comes before; Never for
// each clock that has nothing to say. It holds for a State that Decide has seen.
func (s *Strategy) Wake(st *State, w Window) Wakeup {
	wake := Wakeup{Never, Never, Never}
	switch {
	case !st.used:
		return wake
	case st.closed, st.ended:
		wake.Watermark = after(s.Expiry(w))
	default:
		wake.Watermark = after(w.Max)
	}
	if st.closed {
		return wake
	}
	for _, wt := range s.waits {
		t := st.slots[wt.slot]
		switch {
		case t == reached || t == idle:
		case wt.synchronized:
			wake.Synchronized = min(wake.Synchronized, t)
		default:
			wake.Processing = min(wake.Processing, t)
		}
	}
	return wake
}

// Hold returns the event time that the stage's output watermark must not pass, or
// Never. No pane to come has a timestamp before it, but those that are late already:
// for them it is the window's expiry. It holds for a State that Decide has seen.
func (s *Strategy) Hold(st *State, w Window) int64 {
	hold := Never
	if !st.used || st.closed {
		return hold
	}
	if st.held {
		hold = st.hold
	}
	if st.extra {
		hold = min(hold, s.Expiry(w))
	}
	// An on-time pane is still to come, maybe an empty one. Java's runners hold for it by
	// the timer that they set for the end of the window.
	if s.endAlways && !st.ended {
		hold = min(hold, w.Max)
	}
	return hold
}
