package coders

import (
	"encoding/binary"
	"fmt"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// headerSize is that of the commonest header: timestamp, window count, no window
// bytes, a pane of one byte.
const headerSize = timestampSize + 4 + 1

// Windowed scans windowed values: timestamp, windows, pane info, element.
type Windowed struct {
	windows *WindowCoder
	elem    *node
	// key and value are elem's parts if it is a KV, else nil.
	key, value *node
	// plain says that the window is the global one and the element a KV of two
	// length-prefixed parts: what most pipelines shuffle.
	plain bool
	// header is that of every element if the coder has it as a parameter, else nil.
	header *Element
}

// CompileWindowed makes a Windowed of the coder id in coders, which must be a
// windowed_value or param_windowed_value. It fails as Compile does.
func CompileWindowed(coders map[string]*pipepb.Coder, id string) (*Windowed, error) {
	p := coders[id]
	urn := p.GetSpec().GetUrn()
	if urn != urnWindowedValue && urn != urnParamWindowedValue {
		return nil, fmt.Errorf("coders: coder %q has URN %q, want a windowed value", id, urn)
	}
	parts := p.GetComponentCoderIds()
	if len(parts) != 2 {
		return nil, fmt.Errorf("coders: coder %q (%s) has %d components, want 2", id, urn, len(parts))
	}
	c := newCompiler(coders)
	elem, err := c.coder(parts[0], 1)
	if err != nil {
		return nil, fmt.Errorf("element of coder %q: %w", id, err)
	}
	windows, err := c.window(parts[1], 1)
	if err != nil {
		return nil, fmt.Errorf("coder %q: %w", id, err)
	}
	w := &Windowed{windows: windows, elem: elem}
	if kv := coders[parts[0]]; kv.GetSpec().GetUrn() == urnKV {
		// Compiled before as components of the KV, so neither can fail now.
		w.key, w.value = c.nodes[kv.GetComponentCoderIds()[0]], c.nodes[kv.GetComponentCoderIds()[1]]
	}
	if urn == urnParamWindowedValue {
		if elem.fixed == 0 {
			return nil, fmt.Errorf("%w: %q has neither header nor element bytes", ErrUnsupported, id)
		}
		h := &Element{}
		if _, err := done(w.readHeader(p.GetSpec().GetPayload(), h)); err != nil {
			return nil, fmt.Errorf("coders: payload of coder %q: %w", id, err)
		}
		w.header = h
		return w, nil
	}
	w.plain = windows.kind == GlobalWindows && elem.op == opPrefixedPair && w.key != nil
	return w, nil
}

// Keyed says whether elements are KVs, so that Next gives their keys.
func (w *Windowed) Keyed() bool { return w.key != nil }

// Window returns the coder of the elements' windows.
func (w *Windowed) Window() *WindowCoder { return w.windows }

// WindowKind returns the kind of the elements' windows.
func (w *Windowed) WindowKind() WindowKind { return w.windows.kind }

// NextWindow is WindowCoder.Next for the elements' windows.
func (w *Windowed) NextWindow(windows []byte) (n int, err error) { return w.windows.Next(windows) }

// WindowMax is WindowCoder.Max for the elements' windows.
func (w *Windowed) WindowMax(window []byte) (millis int64, err error) { return w.windows.Max(window) }

// Next fills e with the windowed value at the start of b and returns its size, which
// is never 0. e's slices are parts of b (or of the coder, for a parameterized
// header), capped, so that an append to one can't reach its neighbor. Errors are
// those of Scanner.Skip; after one, e holds nothing of use.
func (w *Windowed) Next(b []byte, e *Element) (n int, err error) {
	if w.plain && len(b) > headerSize && b[headerSize-1] <= PaneNoFiring && binary.BigEndian.Uint32(b[timestampSize:]) == 1 {
		k := skipPrefixed(b, headerSize)
		if k < 0 {
			return done(k)
		}
		v := skipPrefixed(b, k)
		if v < 0 {
			return done(v)
		}
		e.Timestamp = timestamp(b)
		e.NumWindows = 1
		e.Windows = b[headerSize-1 : headerSize-1 : headerSize-1]
		e.Pane = b[headerSize-1 : headerSize : headerSize]
		e.Key = b[headerSize:k:k]
		e.Value = b[k:v:v]
		return v, nil
	}
	return w.next(b, e)
}

func (w *Windowed) next(b []byte, e *Element) (int, error) {
	i := 0
	if w.header != nil {
		*e = *w.header
	} else if i = w.readHeader(b, e); i < 0 {
		return done(i)
	}
	start := i
	e.Key = nil
	if w.key != nil {
		if i = w.key.skip(b, i); i < 0 {
			return done(i)
		}
		e.Key = b[start:i:i]
		start = i
		i = w.value.skip(b, i)
	} else {
		i = w.elem.skip(b, i)
	}
	if i < 0 {
		return done(i)
	}
	e.Value = b[start:i:i]
	return i, nil
}

// readHeader fills e's timestamp, windows and pane and returns the position behind them.
func (w *Windowed) readHeader(b []byte, e *Element) int {
	if len(b) < timestampSize {
		return short
	}
	e.Timestamp = timestamp(b)
	const first = timestampSize + 4
	i := first
	// Nearly all elements are in one window, and that of these two kinds.
	if single := len(b) > first+timestampSize && binary.BigEndian.Uint32(b[timestampSize:]) == 1; single && w.windows.kind == GlobalWindows {
		e.NumWindows = 1
	} else if single && w.windows.kind == IntervalWindows {
		e.NumWindows, i = 1, skipVarint(b, first+timestampSize)
	} else {
		e.NumWindows, i = w.windows.root.skipWindows(b, timestampSize)
	}
	if i < 0 {
		return i
	}
	e.Windows = b[first:i:i]
	start := i
	if i = skipPane(b, i); i < 0 {
		return i
	}
	e.Pane = b[start:i:i]
	return i
}

// AppendHeader appends all of a windowed value but the element. windows holds
// numWindows encoded windows, one after another; pane is an encoded pane info, and
// an empty one stands for PaneNoFiring.
func AppendHeader(dst []byte, millis int64, windows []byte, numWindows int, pane []byte) []byte {
	dst = AppendTimestamp(dst, millis)
	dst = binary.BigEndian.AppendUint32(dst, uint32(numWindows))
	dst = append(dst, windows...)
	if len(pane) == 0 {
		return append(dst, PaneNoFiring)
	}
	return append(dst, pane...)
}
