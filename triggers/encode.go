package triggers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrCorrupt is in the chain of the error about a State that can't be read back: its
// bytes are damaged, or another strategy wrote them.
var ErrCorrupt = errors.New("triggers: corrupt state")

// The first byte of an encoded State. What it announces follows: the numbers of panes,
// the hold, and the triggers' finished bits, counts and deadlines.
const (
	flagClosed = 1 << iota
	flagPending
	flagFilled
	flagHeld
	flagExtra
	flagEnded
	flagPanes
	flagTree
)

// How a deadline is encoded; a time is its zigzag code plus codeTime. The latest time is
// below idle, so the sum fits.
const (
	codeIdle = iota
	codeReached
	codeTime
)

// AppendState appends st to dst. A State that is not used takes no bytes, that of an
// open window with the default trigger 7 to 10.
func (s *Strategy) AppendState(dst []byte, st *State) []byte {
	if !st.used {
		return dst
	}
	tree := s.touched(st)
	dst = append(dst, flagIf(st.closed, flagClosed)|flagIf(st.pending, flagPending)|
		flagIf(st.filled, flagFilled)|flagIf(st.held, flagHeld)|flagIf(st.extra, flagExtra)|
		flagIf(st.ended, flagEnded)|flagIf(st.panes > 0, flagPanes)|flagIf(tree, flagTree))
	if st.panes > 0 {
		dst = binary.AppendUvarint(dst, uint64(st.panes))
		dst = binary.AppendUvarint(dst, uint64(st.settled))
	}
	if st.held {
		dst = binary.AppendVarint(dst, st.hold)
	}
	if !tree {
		return dst
	}
	for _, w := range st.finished {
		dst = binary.AppendUvarint(dst, w)
	}
	waits := s.waits
	for i, v := range st.slots {
		code := uint64(v)
		if len(waits) > 0 && waits[0].slot == i {
			waits = waits[1:]
			switch v {
			case idle:
				code = codeIdle
			case reached:
				code = codeReached
			default:
				code = uint64(v<<1^v>>63) + codeTime
			}
		}
		dst = binary.AppendUvarint(dst, code)
	}
	return dst
}

func flagIf(set bool, f byte) byte {
	if set {
		return f
	}
	return 0
}

// touched says whether any trigger of st is not as it began.
func (s *Strategy) touched(st *State) bool {
	for _, w := range st.finished {
		if w != 0 {
			return true
		}
	}
	waits := s.waits
	for i, v := range st.slots {
		initial := int64(0)
		if len(waits) > 0 && waits[0].slot == i {
			waits, initial = waits[1:], idle
		}
		if v != initial {
			return true
		}
	}
	return false
}

// ReadState makes st what AppendState, of the same strategy, encoded as b, all of it.
// It reuses the memory of st, and keeps none of b. If it fails, with ErrCorrupt in the
// chain, st is the zero State.
func (s *Strategy) ReadState(st *State, b []byte) error {
	st.Reset()
	if len(b) == 0 {
		return nil
	}
	if err := s.readState(st, b); err != nil {
		st.Reset()
		return err
	}
	return nil
}

func (s *Strategy) readState(st *State, b []byte) error {
	flags := b[0]
	if flags&flagClosed != 0 {
		st.close()
		if flags != flagClosed || len(b) > 1 {
			return fmt.Errorf("%w: there is more than a finished trigger", ErrCorrupt)
		}
		return nil
	}
	st.used = true
	st.pending = flags&flagPending != 0
	st.filled = flags&flagFilled != 0
	st.held = flags&flagHeld != 0
	st.extra = flags&flagExtra != 0
	st.ended = flags&flagEnded != 0
	st.grow(s)
	r := reader{b: b[1:]}
	if flags&flagPanes != 0 {
		panes, settled := r.uvarint(), r.uvarint()
		if panes == 0 || panes > math.MaxInt64 || settled > panes {
			return fmt.Errorf("%w: %d panes, %d of them not early", ErrCorrupt, panes, settled)
		}
		st.panes, st.settled = int64(panes), int64(settled)
	}
	if st.held {
		st.hold = unzigzag(r.uvarint())
	}
	if flags&flagTree != 0 {
		if err := s.readTree(st, &r); err != nil {
			return err
		}
	}
	if r.short || len(r.b) > 0 {
		return fmt.Errorf("%w: it does not end where the strategy's state does", ErrCorrupt)
	}
	return nil
}

// readTree reads the finished bits, counts and deadlines.
func (s *Strategy) readTree(st *State, r *reader) error {
	for i := range st.finished {
		w := r.uvarint()
		if bits := s.bits - 64*i; bits < 64 && w>>bits != 0 {
			return fmt.Errorf("%w: a trigger has finished that the strategy doesn't have", ErrCorrupt)
		}
		st.finished[i] = w
	}
	waits := s.waits
	for i := range st.slots {
		code := r.uvarint()
		if len(waits) == 0 || waits[0].slot != i {
			if code > math.MaxInt64 {
				return fmt.Errorf("%w: a count of %d", ErrCorrupt, code)
			}
			st.slots[i] = int64(code)
			continue
		}
		waits = waits[1:]
		switch code {
		case codeIdle:
			st.slots[i] = idle
		case codeReached:
			st.slots[i] = reached
		default:
			st.slots[i] = unzigzag(code - codeTime)
		}
	}
	return nil
}

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// reader takes varints from b until it is too short.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) uvarint() uint64 {
	u, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.short = nil, true
		return 0
	}
	r.b = r.b[n:]
	return u
}
