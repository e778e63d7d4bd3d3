package coders

import (
	"encoding/binary"
	"fmt"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// TimerElement is one encoded timer, as slices of the buffer it was found in.
type TimerElement struct {
	// Key is the encoded user key.
	Key []byte
	// Tag is the dynamic timer tag, without its length.
	Tag []byte
	// Windows holds NumWindows encoded windows, one after another.
	Windows    []byte
	NumWindows int
	// Clear says that the timer is taken back. The fields below are then zero.
	Clear bool
	// Fire and Hold are in milliseconds since the epoch. Fire is in the timer's time domain.
	Fire, Hold int64
	// Pane is the encoded pane info.
	Pane []byte
}

// Timers scans timers: key, tag, windows, clear bit and, unless that is set, firing
// time, output timestamp and pane info.
type Timers struct {
	windows *WindowCoder
	root    *node
}

// CompileTimer makes a Timers of the coder id in coders, which must be a timer
// coder. It fails as Compile does.
func CompileTimer(coders map[string]*pipepb.Coder, id string) (*Timers, error) {
	p := coders[id]
	if urn := p.GetSpec().GetUrn(); urn != urnTimer {
		return nil, fmt.Errorf("coders: coder %q has URN %q, want %s", id, urn, urnTimer)
	}
	c := newCompiler(coders)
	root, err := c.coder(id, 0)
	if err != nil {
		return nil, err
	}
	windows, err := c.window(p.GetComponentCoderIds()[1], 1)
	if err != nil {
		return nil, fmt.Errorf("coder %q: %w", id, err)
	}
	return &Timers{windows: windows, root: root}, nil
}

// Window returns the coder of the timers' windows.
func (t *Timers) Window() *WindowCoder { return t.windows }

// Next fills e with the timer at the start of b and returns its size. e's slices are
// parts of b. Errors are those of Scanner.Skip; after one, e holds nothing of use.
func (t *Timers) Next(b []byte, e *TimerElement) (n int, err error) {
	return done(t.root.skipTimer(b, 0, e))
}

// AppendTimer appends e, whose parts are as Next gives them; an empty pane stands for
// PaneNoFiring.
func AppendTimer(dst []byte, e *TimerElement) []byte {
	dst = append(dst, e.Key...)
	dst = append(AppendLength(dst, len(e.Tag)), e.Tag...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(e.NumWindows))
	dst = append(dst, e.Windows...)
	if e.Clear {
		return append(dst, 1)
	}
	dst = append(dst, 0)
	dst = AppendTimestamp(dst, e.Fire)
	dst = AppendTimestamp(dst, e.Hold)
	if len(e.Pane) == 0 {
		return append(dst, PaneNoFiring)
	}
	return append(dst, e.Pane...)
}

// skipTimer returns the position behind the timer at b[i:], and fills e unless it is nil.
func (n *node) skipTimer(b []byte, i int, e *TimerElement) int {
	var t TimerElement
	start := i
	if i = n.a.skip(b, i); i < 0 {
		return i
	}
	t.Key = b[start:i:i]
	size, i := uvarint(b, i)
	switch {
	case i < 0:
		return i
	case size > maxLength:
		return badLength
	case size > uint64(len(b)-i):
		return short
	}
	start = i
	i += int(size)
	t.Tag = b[start:i:i]
	start = i + 4
	if t.NumWindows, i = n.b.skipWindows(b, i); i < 0 {
		return i
	}
	t.Windows = b[start:i:i]
	start = i
	if i = skipBool(b, i); i < 0 {
		return i
	}
	if t.Clear = b[start] == 1; !t.Clear {
		if len(b)-i < 2*timestampSize {
			return short
		}
		t.Fire, t.Hold = timestamp(b[i:]), timestamp(b[i+timestampSize:])
		start = i + 2*timestampSize
		if i = skipPane(b, start); i < 0 {
			return i
		}
		t.Pane = b[start:i:i]
	}
	if e != nil {
		*e = t
	}
	return i
}
