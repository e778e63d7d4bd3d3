package triggers

import pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

// Merge merges the States from, of windows that merged into w, into dst, which is the
// State of w itself: the zero State unless w was there before. The caller merges the
// buffers, and calls Decide after the elements that caused the merge. The States in
// from are reset.
//
// Panes count anew in a window that was not there before. A window whose trigger has
// finished does not merge: leave it out, with its State, and it is ignored if it is
// among from. If dst is such a one, the elements that merge into it reopen it, since
// their own triggers have not let go of them.
func (s *Strategy) Merge(dst *State, from []*State, w Window, now Now) {
	if dst.closed {
		dst.Reset()
	}
	m := merge{s: s, dst: dst, from: from, live: dst.used, ended: passed(now.Watermark, w.Max)}
	live := dst.used
	for f := range m.others {
		live = true
		dst.filled = dst.filled || f.filled
		dst.extra = dst.extra || f.extra
		if f.held {
			s.combine(dst, f.hold)
		}
	}
	if !live {
		return
	}
	dst.grow(s)
	m.node(0)
	dst.used, dst.pending = true, true
	if dst.held && s.output == pipepb.OutputTime_END_OF_WINDOW {
		// The end may have moved, but not back: what held at the old one still can.
		dst.hold = w.Max
	}
	for _, f := range from {
		if !f.closed {
			f.Reset()
		}
	}
}

// merge is a merge of States into dst. Of every trigger the States are read before its
// part of dst is written, so dst can be among them: live says if it is.
type merge struct {
	s           *Strategy
	dst         *State
	from        []*State
	live, ended bool
}

// others yields the States that merge into dst.
func (m *merge) others(yield func(*State) bool) {
	for _, f := range m.from {
		if f.used && !f.closed && !yield(f) {
			return
		}
	}
}

// in says how many States merge, and in how many of them the bit is set.
func (m *merge) in(bit int) (set, states int) {
	count := func(st *State) {
		states++
		if st.has(bit) {
			set++
		}
	}
	if m.live {
		count(m.dst)
	}
	for f := range m.others {
		count(f)
	}
	return set, states
}

// node merges trigger i and those below it, and says whether the end of the window, that
// some of them had seen, is yet to come again. A trigger that had finished in any of the
// windows stays finished but for that.
//
// No trigger is finished after a merge that was not finished in one of the windows:
// so the root never is, and nothing that waits for its pane is lost.
func (m *merge) node(i int) (again bool) {
	if i == none {
		return false
	}
	nd := &m.s.nodes[i]
	set, states := m.in(i)
	finished := set > 0
	switch nd.kind {
	case elementCount, delay:
		m.slot(nd)
		if finished {
			m.s.clear(i, m.dst)
		}
	case defaultTrigger, endOfWindow:
		// Elements of a window that has not fired are still waiting for the end, and it
		// may have moved into the future.
		finished = set == states && m.ended
		again = set > 0 && !finished
	case endWithFirings:
		again = m.firings(nd)
		finished = finished && !again
	case each:
		turn := true
		for _, sub := range nd.subs {
			if !turn {
				// What comes after a trigger that runs (again) has not started.
				m.s.reset(sub, m.dst)
				continue
			}
			again = m.node(sub) || again
			turn = m.dst.has(sub)
		}
		finished = turn
	case all:
		left := false
		for _, sub := range nd.subs {
			again = m.node(sub) || again
			left = left || !m.dst.has(sub)
		}
		finished = finished && !(again && left)
	case anyOf, orFinally:
		left := true
		for _, sub := range nd.subs {
			again = m.node(sub) || again
			left = left && !m.dst.has(sub)
		}
		finished = finished && !(again && left)
	case repeat:
		again = m.node(nd.subs[0])
	}
	m.mark(i, finished)
	return again
}

// mark sets or clears a bit of dst. A lone default trigger has no bits.
func (m *merge) mark(bit int, set bool) {
	switch {
	case set:
		m.dst.set(bit)
	case m.dst.has(bit):
		m.dst.unset(bit)
	}
}

// slot adds up the counts of a trigger, or takes the earliest deadline.
func (m *merge) slot(nd *node) {
	v := m.dst.slots[nd.slot]
	for f := range m.others {
		if nd.kind == delay {
			v = min(v, f.slots[nd.slot])
		} else {
			v += f.slots[nd.slot]
		}
	}
	m.dst.slots[nd.slot] = v
}

// firings merges a trigger with early or late firings. It has left the early ones behind
// if it has in all windows, and the end of this one has not moved ahead again.
func (m *merge) firings(nd *node) (again bool) {
	set, states := m.in(nd.phase)
	late := set == states && m.ended
	again = m.node(nd.subs[0])
	if late {
		again = m.node(nd.subs[1]) || again
	} else {
		again = again || set > 0
		m.s.reset(nd.subs[1], m.dst)
	}
	m.mark(nd.phase, late)
	return again
}
