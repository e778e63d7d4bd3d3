package metamorphic

import (
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// place returns the cell of an element: that of its window, or of what it merges into; nil
// if the window has expired. Windows whose trigger is done take no part in merging: they are
// there only to remember that.
func (m *model) place(key string, w window) *cell {
	if !m.windows.merging() {
		return m.open(key, w)
	}
	if m.in > m.expiry(w) {
		return nil // late by its own window, whatever it would merge into
	}
	var open []*cell
	for _, o := range m.cells {
		if o.key == key && !o.gone && !o.firing.done {
			open = append(open, o)
		}
	}
	union, parts := m.windows.merge(w, open)
	if len(parts) == 0 || len(parts) == 1 && parts[0].window == union {
		return m.open(key, union)
	}
	for _, o := range m.cells {
		if o.key == key && o.window == union && o.firing.done {
			o.gone = true // what merges into it opens it again
		}
	}
	// Panes count anew in a window that was not there before.
	into := &cell{key: key, window: union}
	var firings []*firing
	for _, o := range parts {
		if o.window == union {
			into.panes, into.settled = o.panes, o.settled
		}
		into.buffer, into.fresh = append(into.buffer, o.buffer...), into.fresh || o.fresh
		into.holds, into.waits = append(into.holds, o.holds...), into.waits || o.waits
		firings = append(firings, o.firing)
		o.gone, o.holds, o.waits = true, nil, false
	}
	if m.output == pipepb.OutputTime_END_OF_WINDOW {
		for i := range into.holds {
			into.holds[i] = union.max()
		}
	}
	into.ended = m.in > union.max()
	into.firing, _ = m.trigger.merged(firings, m.moment(into))
	m.cells = append(m.cells, into)
	return into
}

// merge says what an element's window becomes, and which open ones become part of it.
func (f windowing) merge(w window, open []*cell) (union window, parts []*cell) {
	if f.kind == "blocks" {
		block := w.start / blockSize * blockSize
		for _, o := range open {
			if o.window.start/blockSize*blockSize == block {
				parts = append(parts, o)
			}
		}
		if len(parts) == 0 || len(parts) == 1 && parts[0].window == w {
			return w, parts
		}
		return window{block, block + blockSize}, parts
	}
	// Those that overlap, with it or with what overlaps with it.
	union = w
	for again := true; again; {
		again = false
		for _, o := range open {
			if slices.Contains(parts, o) || o.window.start >= union.end || union.start >= o.window.end {
				continue
			}
			parts, again = append(parts, o), true
			union = window{min(union.start, o.window.start), max(union.end, o.window.end)}
		}
	}
	return union, parts
}

// merged is a trigger for windows that merge, made of what it was in each of them. What was
// done in one of them is done, but for what was done since the end of the window had come,
// and is yet to come: undone says that there is such.
func (t *trigger) merged(from []*firing, m moment) (f *firing, undone bool) {
	f = t.start(true)
	if f == nil {
		return nil, false
	}
	done := slices.ContainsFunc(from, func(o *firing) bool { return o.done })
	ended := m.ended && len(from) > 0 && !slices.ContainsFunc(from, func(o *firing) bool { return !o.ended })
	wasEnded := slices.ContainsFunc(from, func(o *firing) bool { return o.ended })
	sub := func(i int) []*firing {
		var subs []*firing
		for _, o := range from {
			subs = append(subs, o.subs[i])
		}
		return subs
	}
	left := false
	switch t.kind {
	case "count", "processing time", "synchronized":
		f.done = done
		for _, o := range from {
			f.seen += o.seen
			if o.due != noTime && (f.due == noTime || o.due < f.due) {
				f.due = o.due
			}
		}
		if done {
			f.forget()
		}
		return f, false
	case "end of window":
		if len(f.subs) == 0 || ended {
			f.ended = ended
		}
		if len(f.subs) == 0 {
			// It has no firings but the one at the end.
			f.done = done && m.ended && !slices.ContainsFunc(from, func(o *firing) bool { return !o.done })
			f.ended = f.done
			return f, done && !f.done
		}
		if t.subs[0] != nil {
			f.subs[0], undone = t.subs[0].merged(sub(0), m)
		}
		if ended && t.subs[1] != nil {
			var u bool
			f.subs[1], u = t.subs[1].merged(sub(1), m)
			undone = undone || u
		}
		undone = undone || wasEnded && !ended
		f.done = done && !undone
		return f, undone
	case "each":
		turn := true
		for i := range f.subs {
			if !turn {
				continue // it has not begun (any more)
			}
			var u bool
			f.subs[i], u = t.subs[i].merged(sub(i), m)
			undone = undone || u
			turn = f.subs[i].done
		}
		f.done = turn
		return f, undone
	}
	some := false
	for i := range f.subs {
		var u bool
		f.subs[i], u = t.subs[i].merged(sub(i), m)
		undone = undone || u
		left, some = left || !f.subs[i].done, some || f.subs[i].done
	}
	switch t.kind {
	case "all":
		f.done = done && !(undone && left)
	case "any", "or finally":
		f.done = done && !(undone && !some)
	}
	return f, undone
}
