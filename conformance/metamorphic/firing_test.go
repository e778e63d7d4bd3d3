package metamorphic

import "slices"

// firing is what the model knows of a trigger for one key and window. The rules are those
// of Beam's model (Trigger in beam_runner_api.proto) and, where that says nothing, of the
// state machines of the Java SDK's runner library.
type firing struct {
	*trigger
	// merging says that windows merge.
	merging bool
	// done: it has fired for the last time.
	done bool
	// seen are the elements that "count" has seen, due is when a delay is over (noTime:
	// no element has come).
	seen, due int64
	// ended: "end of window" has fired for the end, and is in its late firings.
	ended bool
	subs  []*firing
}

const noTime = -1

func (t *trigger) start(merging bool) *firing {
	if t == nil {
		return nil
	}
	f := &firing{trigger: t, merging: merging, due: noTime}
	for _, s := range t.subs {
		f.subs = append(f.subs, s.start(merging))
	}
	return f
}

// moment is when a trigger is asked: the processing time (ms), and whether the watermark
// has passed the end of the window.
type moment struct {
	processing int64
	ended      bool
}

// running is the subtrigger of "each" that has its turn, nil behind the last.
func (f *firing) running() *firing {
	i := slices.IndexFunc(f.subs, func(s *firing) bool { return !s.done })
	if i < 0 {
		return nil
	}
	return f.subs[i]
}

// firings are the early and the late firings of "end of window".
func (f *firing) firings() (early, late *firing) {
	if len(f.subs) == 0 {
		return nil, nil
	}
	return f.subs[0], f.subs[1]
}

// element tells of one. Where windows merge, triggers hear of it whose turn a merge may
// bring (back).
func (f *firing) element(m moment) {
	if f == nil || f.done {
		return
	}
	switch f.kind {
	case "count":
		f.seen++
	case "processing time", "synchronized":
		if f.due == noTime {
			f.due = f.deadline(m.processing)
		}
	case "end of window":
		early, late := f.firings()
		if !f.ended || f.merging {
			early.element(m)
		}
		if f.ended {
			late.element(m)
		}
	case "each":
		for _, s := range f.subs {
			if f.merging || s == f.running() {
				s.element(m)
			}
		}
	default:
		for _, s := range f.subs {
			s.element(m)
		}
	}
}

// deadline of an element that comes at processing time now.
func (t *trigger) deadline(now int64) int64 {
	if t.kind == "synchronized" {
		// All that runs upstream has caught up when the clock moves on.
		return now + 1
	}
	at := now + t.delay
	for t.period > 0 && at%t.period != 0 {
		at++
	}
	return at
}

// deadlines calls fn with the times that are waited for.
func (f *firing) deadlines(fn func(int64)) {
	if f == nil {
		return
	}
	if f.due != noTime {
		fn(f.due)
	}
	for _, s := range f.subs {
		s.deadlines(fn)
	}
}

// ready says that it would fire, if it is not done.
func (f *firing) ready(m moment) bool {
	if f == nil {
		return false
	}
	ready := func(s *firing) bool { return s.ready(m) }
	switch f.kind {
	case "always":
		return true
	case "never":
		return false
	case "count":
		return f.seen >= f.count
	case "processing time", "synchronized":
		return f.due != noTime && m.processing >= f.due
	case "default":
		return m.ended
	case "end of window":
		early, late := f.firings()
		if f.ended {
			return late.ready(m)
		}
		return m.ended || early.ready(m)
	case "each":
		return f.running().ready(m)
	case "all":
		return !slices.ContainsFunc(f.subs, func(s *firing) bool { return !s.done && !s.ready(m) })
	}
	return slices.ContainsFunc(f.subs, ready) // repeat, any, or finally
}

// fire lets it fire; it is ready.
func (f *firing) fire(m moment) {
	switch f.kind {
	case "count", "processing time", "synchronized":
		f.finish()
	case "end of window":
		early, late := f.firings()
		switch {
		case f.ended:
			late.again(m)
			early.restart()
		case m.ended:
			f.ended = true
			early.restart()
			if late == nil {
				f.finish()
			}
		default:
			early.again(m)
		}
	case "each":
		run := f.running()
		run.fire(m)
		for _, s := range f.subs {
			if f.merging && s != run {
				s.forget() // it has seen this pane's elements in case it runs one day
			}
		}
		if f.running() == nil {
			f.finish()
		}
	case "all", "any":
		for _, s := range f.subs {
			if !s.done && s.ready(m) {
				s.fire(m)
			}
		}
		f.finish()
	case "or finally":
		main, finally := f.subs[0], f.subs[1]
		if finally.ready(m) {
			finally.fire(m)
			f.finish()
			return
		}
		main.fire(m)
		if main.done {
			f.finish()
		}
	case "repeat":
		f.subs[0].again(m)
	}
}

// again fires a trigger that repeats.
func (f *firing) again(m moment) {
	f.fire(m)
	if f.done {
		f.restart()
	}
}

func (f *firing) finish() {
	f.forget()
	f.done = true
}

// forget drops what was counted, here and below.
func (f *firing) forget() {
	if f == nil {
		return
	}
	f.seen, f.due = 0, noTime
	for _, s := range f.subs {
		s.forget()
	}
}

// restart makes it as new.
func (f *firing) restart() {
	if f != nil {
		*f = *f.start(f.merging)
	}
}
