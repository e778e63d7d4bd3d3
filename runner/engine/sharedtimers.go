package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend"
)

// sharedTimer is the one timer of all keys in a shard that want the same of a window. Most
// keys do: they wait for its end, and then, if it may be late, for its expiry. A timer for
// each is what would cost a grouping most, in memory and in the store.
//
// Which keys share it is not written down, since each key's value says what it wants (see
// windowTimers), and values of a window lie side by side. When it is due they are
// walked along: what is found has to be read then anyway. How many they are is known, so
// that the timer goes with the last of them, and what it holds goes too.
type sharedTimer struct {
	id     string
	window []byte
	is     wanted
	// keys is how many share it, change what a run adds to that. groups are the key groups
	// where some are, or were.
	keys, change int64
	groups       groupSet
}

// sharedSeq is the number of a shared timer as a window's value has it. No other timer of a
// window has it, see newHeld.
const sharedSeq = 1

// sharedLetter ends the ids of shared timers, see also timerLetters.
const sharedLetter = 's'

func isShared(id string) bool { return id != "" && id[len(id)-1] == sharedLetter }

// groupSet is a set of key groups.
type groupSet [KeyGroups / 64]uint64

func (g *groupSet) add(group int) { g[group/64] |= 1 << (group % 64) }

func (g *groupSet) each(f func(group int) error) error {
	for i, word := range g {
		for ; word != 0; word &= word - 1 {
			if err := f(64*i + bits.TrailingZeros64(word)); err != nil {
				return err
			}
		}
	}
	return nil
}

// fewGroups are written as a list, more as a set of bits: most windows have keys in few groups
// or in all.
const fewGroups = 64

func (g *groupSet) len() (n int) {
	for _, word := range g {
		n += bits.OnesCount64(word)
	}
	return n
}

// append writes the set: how many they are if they are few, and then each from the one before;
// else fewGroups+1 and the bits.
func (g *groupSet) append(b []byte) []byte {
	n := g.len()
	if n > fewGroups {
		b = binary.AppendUvarint(b, fewGroups+1)
		for _, word := range g {
			b = binary.BigEndian.AppendUint64(b, word)
		}
		return b
	}
	b = binary.AppendUvarint(b, uint64(n))
	last := 0
	_ = g.each(func(group int) error {
		b = binary.AppendUvarint(b, uint64(group-last))
		last = group
		return nil
	})
	return b
}

// read is append's inverse; all of b must be the set.
func (g *groupSet) read(b []byte) bool {
	*g = groupSet{}
	n, w := binary.Uvarint(b)
	if w <= 0 || n > fewGroups+1 {
		return false
	}
	if b = b[w:]; n > fewGroups {
		if len(b) != len(g)*8 {
			return false
		}
		for i := range g {
			g[i] = binary.BigEndian.Uint64(b[8*i:])
		}
		return true
	}
	group := uint64(0)
	for range n {
		gap, w := binary.Uvarint(b)
		if group += gap; w <= 0 || gap >= KeyGroups || group >= KeyGroups {
			return false
		}
		g.add(int(group))
		b = b[w:]
	}
	return len(b) == 0
}

func (s *sharedTimer) data() []byte {
	return s.groups.append(binary.AppendUvarint(nil, uint64(s.keys)))
}

func (s *sharedTimer) read(data []byte) error {
	keys, n := binary.Uvarint(data)
	if n <= 0 || keys > math.MaxInt64 || !s.groups.read(data[n:]) {
		return fmt.Errorf("grouping: timer %x: %w", s.id, statebackend.ErrCorrupt)
	}
	s.keys = int64(keys)
	return nil
}

// shares says whether a key that wants this shares it. What keys want by themselves they don't
// share: in processing time, or with a hold that depends on their elements. And merging
// windows are each of one key.
func (r *triggerRun) shares(d domain, t wanted) bool {
	return d == eventTime && !r.strategy.Merging() && r.merger == nil && (t.hold == core.MaxTime || t.hold >= t.fire-1)
}

// share returns the timer that is shared by keys which want t of a window.
func (r *triggerRun) share(window []byte, t wanted) *sharedTimer {
	r.id = appendPart(r.id[:0], window)
	r.id = append(appendSort(appendSort(r.id, t.fire), t.hold), sharedLetter)
	s := r.shared[string(r.id)]
	if s == nil {
		s = &sharedTimer{id: string(r.id), window: window, is: t}
		r.shared[s.id] = s
		r.sharedOrder = append(r.sharedOrder, s)
	}
	return s
}

// openShared brings the windows into memory that share a timer which is due.
func (r *triggerRun) openShared(t *timer) error {
	window, _, ok := readPart([]byte(t.id))
	if !ok {
		return fmt.Errorf("grouping: timer %x: %w", t.id, statebackend.ErrCorrupt)
	}
	s := r.share(window, wanted{true, t.fire, t.hold})
	if err := s.read(t.data); err != nil {
		return err
	}
	found := int64(0)
	err := s.groups.each(func(group int) error {
		return r.read.windowValues(windowPrefix(group, r.slot, window), func(cell string, data []byte) error {
			w, err := r.openStored(cell, data)
			if err != nil || w.timers.taken[eventTime] || !w.wants(s) {
				return err
			}
			r.touch(w)
			w.timers.taken[eventTime] = true
			found++
			return nil
		})
	})
	if err == nil && found != s.keys {
		err = fmt.Errorf("grouping: %d keys in state wait for %d in a window, %d should: %w", found, t.fire, s.keys, statebackend.ErrCorrupt)
	}
	return err
}

// openStored returns a window by its value, which may be open already.
func (r *triggerRun) openStored(cell string, data []byte) (*openWindow, error) {
	window, rest := cutPart(cell[4:])
	key, _ := cutPart(rest)
	r.id = windowKey(r.id[:0], []byte(window), []byte(key))
	if w := r.windows[string(r.id)]; w != nil {
		return w, nil
	}
	w, err := r.newWindow([]byte(key), []byte(window), cell)
	if err != nil {
		return nil, err
	}
	return w, r.readWindow(w, data)
}

// wants says that the window waits for a shared timer.
func (w *openWindow) wants(s *sharedTimer) bool {
	return w.stored && w.timers.seq[eventTime] == sharedSeq && w.timers.was[eventTime] == s.is
}

// findShared brings those shared timers into memory that settle will change.
func (r *triggerRun) findShared() error {
	for _, s := range r.sharedOrder {
		t, err := r.timers.find([]byte(s.id))
		if err != nil {
			return err
		}
		added := s.groups
		if t != nil {
			if err := s.read(t.data); err != nil {
				return err
			}
		}
		for i := range added {
			s.groups[i] |= added[i]
		}
		if s.keys += s.change; s.keys < 0 {
			return fmt.Errorf("grouping: timer %x has %d keys: %w", s.id, s.keys, statebackend.ErrCorrupt)
		}
	}
	return nil
}

// settleShared puts a shared timer where it belongs.
func (s *shardTimers) settleShared(is *sharedTimer) {
	switch t := s.byID[is.id]; {
	case is.keys == 0:
		s.clear(is.id)
	case t != nil && t.at >= 0:
		s.rewrite(t, is.data())
	default:
		s.set(timer{id: is.id, domain: eventTime, fire: is.is.fire, hold: is.is.hold, data: is.data()})
	}
}
