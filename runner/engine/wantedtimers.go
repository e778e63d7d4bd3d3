package engine

import (
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/triggers"
)

// wanted is when a window of a grouping wants to be looked at again, and what it holds.
// Its state alone says so. So the timers of a window whose state wants what it wanted
// before are left alone, wherever they are.
type wanted struct{ event, hold, processing int64 }

func (r *triggerRun) wanted(w *openWindow) wanted {
	if !w.st.Used() {
		return wanted{triggers.Never, core.MaxTime, triggers.Never}
	}
	wake := r.strategy.Wake(&w.st, w.w)
	return wanted{wake.Watermark, r.strategy.Hold(&w.st, w.w), min(wake.Processing, wake.Synchronized)}
}

// Ids of a window's timers are its own and a letter.
func (r *triggerRun) timerID(w *openWindow, letter byte) []byte {
	r.id = append(append(r.id[:0], w.id...), letter)
	return r.id
}

// same says that the window's timers are as they should be. Those that are due were taken
// out.
func (w *openWindow) same() bool { return w.stored && !w.due && w.is == w.was }

// findTimers brings those timers into memory that settle will change.
func (r *triggerRun) findTimers() error {
	for _, w := range r.order {
		w.is = r.wanted(w)
		if !w.stored || w.same() {
			continue
		}
		for _, letter := range []byte{'e', 'p'} {
			if _, err := r.timers.find(r.timerID(w, letter)); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle puts what the windows want into the shard's timers. It can't fail: it is the
// run's last step.
func (r *triggerRun) settle() *core.Timers {
	for _, w := range r.order {
		if w.same() {
			continue
		}
		// The hold goes with the timer in event time; a window that wants none waits for
		// elements only, and its hold is that of a timer that never fires.
		r.wake(w, 'e', timer{domain: eventTime, fire: w.is.event, hold: w.is.hold}, w.st.Used())
		r.wake(w, 'p', timer{domain: processingTime, fire: w.is.processing, hold: core.MaxTime}, w.is.processing != triggers.Never)
	}
	return r.timers.summary()
}

// wake sets one of a window's timers, or clears it.
func (r *triggerRun) wake(w *openWindow, letter byte, t timer, set bool) {
	id := r.timerID(w, letter)
	old := r.timers.byID[string(id)]
	switch {
	case set && !old.waits(&t):
		t.id = string(id)
		r.timers.set(t)
	case !set && old != nil:
		r.timers.clear(old.id)
	}
}
