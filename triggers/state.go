package triggers

import "math"

// A deadline's slot holds one of these when it holds no time.
const (
	// idle: no element has come yet.
	idle int64 = math.MaxInt64
	// reached: the clock got there, and the trigger has not fired since.
	reached int64 = math.MinInt64
)

// State is what a strategy remembers of one key and window. The zero State is that of
// a window without elements. A State holds slices: to copy one, encode it.
type State struct {
	// used: an element came. Only a used State is ever stored.
	used bool
	// closed: the trigger has finished, and later elements are dropped. That alone is
	// remembered, until the window expires.
	closed bool
	// pending: elements came, or windows merged, since the trigger was last asked.
	pending bool
	// filled: elements came since the last pane.
	filled bool
	// held: hold is the timestamp of the next pane, by the elements that came before
	// the output watermark did. Until it is emitted it holds the watermark.
	held bool
	// extra: the watermark is held where the window expires, since an element came too
	// late to hold it, or since the last pane is emitted even if it is empty. What is
	// emitted at expiry is not too late for stages downstream then.
	extra bool
	// ended: the trigger was asked after the watermark had passed the window's end.
	ended bool

	hold int64
	// panes counts the panes emitted, settled those of them that were not early: after
	// the first of these all panes are late.
	panes, settled int64

	// finished holds the finished bits of the triggers, slots their counts and deadlines.
	finished []uint64
	slots    []int64
}

// Reset makes st the zero State, but keeps its memory for what is read next.
func (st *State) Reset() {
	*st = State{finished: st.finished[:0], slots: st.slots[:0]}
}

// Used says whether the State holds anything: whether it needs storing.
func (st *State) Used() bool { return st.used }

// Closed says whether the trigger has finished: all further elements are dropped. A
// closed window takes no part in merging.
func (st *State) Closed() bool { return st.closed }

// Empty says whether no element came since the last pane.
func (st *State) Empty() bool { return !st.filled }

// close drops everything but the fact that the trigger has finished.
func (st *State) close() {
	st.Reset()
	st.used, st.closed = true, true
}

// grow makes room for what s keeps in a State.
func (st *State) grow(s *Strategy) {
	if len(st.slots) == s.slots && len(st.finished) == words(s.bits) {
		return
	}
	st.finished = append(st.finished[:0], make([]uint64, words(s.bits))...)
	st.slots = append(st.slots[:0], make([]int64, s.slots)...)
	for _, w := range s.waits {
		st.slots[w.slot] = idle
	}
}

func words(bits int) int { return (bits + 63) / 64 }

func (st *State) has(bit int) bool {
	return bit>>6 < len(st.finished) && st.finished[bit>>6]>>(bit&63)&1 != 0
}

func (st *State) set(bit int)   { st.finished[bit>>6] |= 1 << (bit & 63) }
func (st *State) unset(bit int) { st.finished[bit>>6] &^= 1 << (bit & 63) }
