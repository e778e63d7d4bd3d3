package engine

import (
	"encoding/binary"

	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/triggers"
)

// windowTimers are the timers of a grouping's window, one for each time domain at most.
// Where they are is kept with the window's state. So what a window has is known without a
// look at its timers, and they are left alone, wherever they are, as long as the state
// wants no others.
type windowTimers struct {
	was, is [domains]wanted
	// seq are their numbers, 0 where there is none, sharedSeq for a timer that is shared.
	seq [domains]uint64
	// changes says which are set or cleared, and old which numbers those had.
	old     [domains]uint64
	changes [domains]bool
	// taken are those that are due.
	taken [domains]bool
}

// wanted is a timer that a window wants.
type wanted struct {
	set        bool
	fire, hold int64
}

// timerLetters end the ids of a window's timers.
var timerLetters = [domains]byte{eventTime: 'e', processingTime: 'p'}

// append writes down which timers a window has: their numbers, and when they fire and what
// they hold, from the window's end.
func (w *windowTimers) append(b []byte, end int64) []byte {
	for d, seq := range w.seq {
		if b = binary.AppendUvarint(b, seq); seq > 0 {
			b = binary.AppendVarint(b, w.is[d].fire-end)
			b = binary.AppendVarint(b, w.is[d].hold-end)
		}
	}
	return b
}

// read is append's inverse, and returns what is behind.
func (w *windowTimers) read(b []byte, end int64) (rest []byte, ok bool) {
	for d := range w.seq {
		var n int
		if w.seq[d], n = binary.Uvarint(b); n <= 0 {
			return nil, false
		}
		if b = b[n:]; w.seq[d] == 0 {
			continue
		}
		for _, t := range []*int64{&w.was[d].fire, &w.was[d].hold} {
			v, n := binary.Varint(b)
			if n <= 0 {
				return nil, false
			}
			*t, b = end+v, b[n:]
		}
		w.was[d].set = true
	}
	return b, true
}

func (w *windowTimers) due(t *timer) { w.taken[t.domain] = true }

func (r *triggerRun) wanted(w *openWindow) (all [domains]wanted) {
	if !w.st.Used() {
		return all
	}
	wake := r.strategy.Wake(&w.st, w.w)
	// The hold goes with the timer in event time; a window that wants none waits for
	// elements only, and its hold is that of a timer that never fires.
	all[eventTime] = wanted{true, wake.Watermark, r.strategy.Hold(&w.st, w.w)}
	if at := min(wake.Processing, wake.Synchronized); at != triggers.Never {
		all[processingTime] = wanted{true, at, core.MaxTime}
	}
	return all
}

// timerID is the id of a window's timer, valid until the next call.
func (r *triggerRun) timerID(w *openWindow, d int) []byte {
	r.id = append(append(r.id[:0], w.id...), timerLetters[d])
	return r.id
}

// planTimers says which of a window's timers change, and gives new ones their numbers.
func (r *triggerRun) planTimers(w *openWindow) {
	t := &w.timers
	t.is = r.wanted(w)
	for d := range t.is {
		if t.changes[d] = t.taken[d] || t.is[d] != t.was[d]; !t.changes[d] {
			continue
		}
		t.old[d], t.seq[d] = t.seq[d], 0
		switch {
		case !t.is[d].set:
		case r.shares(domain(d), t.is[d]):
			t.seq[d] = sharedSeq
		default:
			t.seq[d] = r.timers.reserve()
		}
	}
}

// findTimers brings those timers into memory that settle will change.
func (r *triggerRun) findTimers() error {
	for _, w := range r.order {
		t := &w.timers
		for d, changes := range t.changes {
			if !changes {
				continue
			}
			if t.old[d] == sharedSeq {
				r.share(w.window, t.was[d]).change--
			} else if t.old[d] != 0 {
				if err := r.timers.findAt(r.timerID(w, d), domain(d), moment{t.was[d].fire, t.old[d]}); err != nil {
					return err
				}
			}
			if t.seq[d] == sharedSeq {
				s := r.share(w.window, t.is[d])
				s.change++
				s.groups.add(keyGroup(keyHash(w.key)))
			}
		}
	}
	return r.findShared()
}

// settle puts what the windows want into the shard's timers. It can't fail: it is the
// run's last step.
func (r *triggerRun) settle() *core.Timers {
	for _, w := range r.order {
		t := &w.timers
		for d, changes := range t.changes {
			switch alone, is := t.seq[d] != sharedSeq, t.is[d]; {
			case !changes:
			case is.set && alone:
				r.timers.set(timer{id: string(r.timerID(w, d)), domain: domain(d), fire: is.fire, hold: is.hold, seq: t.seq[d]})
			case t.was[d].set && t.old[d] != sharedSeq:
				r.timers.clear(string(r.timerID(w, d)))
			}
		}
		switch used := w.st.Used(); {
		case used && !w.stored:
			r.timers.windows.add(w.id)
		case !used && w.stored:
			r.timers.windows.remove(w.id)
		}
	}
	for _, s := range r.sharedOrder {
		r.timers.settleShared(s)
	}
	return r.timers.summary()
}
