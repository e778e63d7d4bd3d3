package triggers

// The state machines of the triggers, one function per thing that can happen to them,
// each walking the tree by index. A trigger is ready when it would fire; firing it
// moves it on, and may finish it.

// arrive tells trigger i of n elements that came at processing time t.
//
// A merge of windows may take a composite that runs one subtrigger at a time back to one
// that had finished, or on to one that had yet to start. So where windows merge, all of
// them are told that may get their turn so.
func (s *Strategy) arrive(i int, st *State, n, t int64) {
	if i == none {
		return
	}
	switch nd := &s.nodes[i]; nd.kind {
	case elementCount:
		if !st.has(i) {
			st.slots[nd.slot] += n
		}
	case delay:
		if !st.has(i) && st.slots[nd.slot] == idle {
			st.slots[nd.slot] = nd.deadline(t)
		}
	case endWithFirings:
		late := st.has(nd.phase)
		if !late || s.merging {
			s.arrive(nd.subs[0], st, n, t)
		}
		if late {
			s.arrive(nd.subs[1], st, n, t)
		}
	case each:
		if !s.merging {
			s.arrive(s.running(nd, st), st, n, t)
			return
		}
		for _, sub := range nd.subs {
			s.arrive(sub, st, n, t)
		}
	case all, anyOf, orFinally, repeat:
		for _, sub := range nd.subs {
			s.arrive(sub, st, n, t)
		}
	}
}

// ready says whether trigger i, which has not finished, would fire. ended says whether
// the watermark has passed the end of the window.
func (s *Strategy) ready(i int, st *State, ended bool) bool {
	if i == none {
		return false
	}
	switch nd := &s.nodes[i]; nd.kind {
	case always:
		return true
	case elementCount:
		return st.slots[nd.slot] >= nd.count
	case delay:
		return st.slots[nd.slot] == reached
	case defaultTrigger, endOfWindow:
		return ended
	case endWithFirings:
		if st.has(nd.phase) {
			return s.ready(nd.subs[1], st, ended)
		}
		return ended || s.ready(nd.subs[0], st, ended)
	case each:
		return s.ready(s.running(nd, st), st, ended)
	case all:
		for _, sub := range nd.subs {
			if !st.has(sub) && !s.ready(sub, st, ended) {
				return false
			}
		}
		return true
	case anyOf, orFinally:
		for _, sub := range nd.subs {
			if s.ready(sub, st, ended) {
				return true
			}
		}
	case repeat:
		return s.ready(nd.subs[0], st, ended)
	}
	return false
}

// fire moves trigger i, which is ready, on to its next pane.
func (s *Strategy) fire(i int, st *State, ended bool) {
	switch nd := &s.nodes[i]; nd.kind {
	case elementCount, delay, endOfWindow:
		s.finish(i, st)
	case endWithFirings:
		s.fireAtEnd(i, st, ended)
	case each:
		s.fireEach(i, st, ended)
	case all:
		for _, sub := range nd.subs {
			if !st.has(sub) {
				s.fire(sub, st, ended)
			}
		}
		s.finish(i, st)
	case anyOf:
		// Which of them fired matters when windows merge: the end of the window may be
		// undone, a count is not.
		for _, sub := range nd.subs {
			if s.ready(sub, st, ended) {
				s.fire(sub, st, ended)
			}
		}
		s.finish(i, st)
	case orFinally:
		// The model has the trigger finish when its finally fires, whatever that is. A
		// finally that doesn't fire keeps its count: it is about all panes together.
		if s.ready(nd.subs[1], st, ended) {
			s.fire(nd.subs[1], st, ended)
			s.finish(i, st)
			return
		}
		s.fire(nd.subs[0], st, ended)
		if st.has(nd.subs[0]) {
			s.finish(i, st)
		}
	case repeat:
		s.fireAgain(nd.subs[0], st, ended)
	}
}

// fireAtEnd fires a trigger with early or late firings, which repeat.
func (s *Strategy) fireAtEnd(i int, st *State, ended bool) {
	nd := &s.nodes[i]
	early, late := nd.subs[0], nd.subs[1]
	switch {
	case st.has(nd.phase):
		s.fireAgain(late, st, ended)
		// What merges back to before the end counts from here.
		s.reset(early, st)
	case !ended:
		s.fireAgain(early, st, ended)
	default:
		s.reset(early, st)
		st.set(nd.phase)
		if late == none {
			s.finish(i, st)
		}
	}
}

// fireEach fires the running one of a sequence of triggers.
func (s *Strategy) fireEach(i int, st *State, ended bool) {
	nd := &s.nodes[i]
	run := s.running(nd, st)
	s.fire(run, st, ended)
	if s.merging {
		// The others saw the elements of this pane too, but only in case they run later.
		for _, sub := range nd.subs {
			if sub != run {
				s.clear(sub, st)
			}
		}
	}
	if s.running(nd, st) == none {
		s.finish(i, st)
	}
}

// fireAgain fires trigger i and starts it anew if that finishes it.
func (s *Strategy) fireAgain(i int, st *State, ended bool) {
	s.fire(i, st, ended)
	if st.has(i) {
		s.reset(i, st)
	}
}

// running returns the trigger of a sequence that has its turn, or none.
func (s *Strategy) running(nd *node, st *State) int {
	for _, sub := range nd.subs {
		if !st.has(sub) {
			return sub
		}
	}
	return none
}

// finish sets the finished bit of trigger i and forgets what it and those below counted.
func (s *Strategy) finish(i int, st *State) {
	s.clear(i, st)
	st.set(i)
}

// clear forgets what trigger i and those below it counted, but not which have finished.
func (s *Strategy) clear(i int, st *State) {
	if i == none {
		return
	}
	nd := &s.nodes[i]
	if nd.slot != none {
		st.slots[nd.slot] = nd.initial()
	}
	for _, sub := range nd.subs {
		s.clear(sub, st)
	}
}

// reset takes trigger i and those below it back to where they began.
func (s *Strategy) reset(i int, st *State) {
	if i == none {
		return
	}
	nd := &s.nodes[i]
	if nd.slot != none {
		st.slots[nd.slot] = nd.initial()
	}
	st.unset(i)
	if nd.phase != none {
		st.unset(nd.phase)
	}
	for _, sub := range nd.subs {
		s.reset(sub, st)
	}
}

// initial returns what the slot of a trigger holds before its first element.
func (n *node) initial() int64 {
	if n.kind == delay {
		return idle
	}
	return 0
}
