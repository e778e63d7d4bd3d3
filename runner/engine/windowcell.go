package engine

import (
	"encoding/binary"
	"fmt"

	"github.com/summerbeam/summerbeam/statebackend"
)

// What a key and window has in state: a value, which is read and written whole, and a bag
// behind it, the buffer, for what is too much to be written again each time.
const (
	cellWindow = "window"
	cellBuffer = "buffer"
)

// inlineBytes is how much may wait within the value. Accumulators of most combines are far
// below it, so their windows have no buffer.
const inlineBytes = 256

func (r *triggerRun) cellOf(key, window []byte, id string) string {
	return string(cellKey(nil, keyGroup(keyHash(key)), r.slot, window, key, id))
}

// readWindow takes a window's value apart: the strategy's state with its length, how many
// values are in the buffer, how many are here, its timers, and the values. w shares them.
func (r *triggerRun) readWindow(w *openWindow, data []byte) error {
	bad := fmt.Errorf("grouping: state of a window: %w", statebackend.ErrCorrupt)
	size, n := binary.Uvarint(data)
	if n <= 0 || size > uint64(len(data)-n) {
		return bad
	}
	state, rest := data[n:n+int(size)], data[n+int(size):]
	for _, count := range []*uint64{&w.waiting, &w.count} {
		if *count, n = binary.Uvarint(rest); n <= 0 {
			return bad
		}
		rest = rest[n:]
	}
	var ok bool
	if rest, ok = w.timers.read(rest, w.w.Max); !ok {
		return bad
	}
	w.appended = rest[:len(rest):len(rest)]
	if err := r.strategy.ReadState(&w.st, state); err != nil {
		return fmt.Errorf("grouping: state of a window: %w", err)
	}
	w.stored = true
	return nil
}

// close stages what has become of a window.
func (r *triggerRun) close(w *openWindow) {
	if !w.st.Used() {
		if w.stored {
			r.staged.setValue(w.cell, value{})
		}
		if w.clear {
			r.staged.cell(r.cellOf(w.key, w.window, cellBuffer)).clear()
		}
		return
	}
	if w.clear || w.waiting > 0 || len(w.appended) > inlineBytes {
		r.closeBuffer(w)
	}
	r.id = r.strategy.AppendState(r.id[:0], &w.st)
	data := make([]byte, 0, len(r.id)+len(w.appended)+8*binary.MaxVarintLen16)
	data = binary.AppendUvarint(data, uint64(len(r.id)))
	data = append(data, r.id...)
	data = binary.AppendUvarint(data, w.waiting)
	data = binary.AppendUvarint(data, w.count)
	data = w.timers.append(data, w.w.Max)
	r.staged.setValue(w.cell, value{data: append(data, w.appended...), fresh: !w.stored})
}

// closeBuffer stages what has become of a window's buffer. Values go there if there are
// others, or if they are too many.
func (r *triggerRun) closeBuffer(w *openWindow) {
	buf := r.staged.cell(r.cellOf(w.key, w.window, cellBuffer))
	if w.clear {
		buf.clear()
	}
	if w.count == 0 || w.waiting == 0 && len(w.appended) <= inlineBytes {
		return
	}
	buf.bag = appendRun(nil, w.count, w.appended)
	r.staged.bytes += int64(len(buf.bag))
	w.waiting, w.count, w.appended = w.waiting+w.count, 0, nil
}

// drop lets go of a window's values.
func (w *openWindow) drop() {
	w.clear = w.clear || w.waiting > 0
	w.waiting, w.count, w.appended = 0, 0, nil
}

// buffered returns a window's values, read together with those in the buffer.
func (r *triggerRun) buffered(w *openWindow) (uint64, []byte, error) {
	if w.waiting == 0 {
		return w.count, w.appended, nil
	}
	b, err := r.read.bag(r.cellOf(w.key, w.window, cellBuffer))
	if err != nil {
		return 0, nil, err
	}
	// The cell is a row of runs: a count and the bytes of that many values.
	var count uint64
	var values []byte
	for len(b) > 0 {
		n, rest, run, err := cutRun(b)
		if err != nil {
			return 0, nil, err
		}
		count, values, b = count+n, append(values, run...), rest
	}
	w.appended, w.count = append(values, w.appended...), w.count+count
	w.waiting, w.clear = 0, true
	return w.count, w.appended, nil
}

// A run of values in a buffer: count, length, bytes.
func appendRun(dst []byte, count uint64, values []byte) []byte {
	dst = binary.AppendUvarint(dst, count)
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	return append(dst, values...)
}

func cutRun(b []byte) (count uint64, rest, values []byte, err error) {
	count, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, fmt.Errorf("grouping: buffered values: %w", statebackend.ErrCorrupt)
	}
	size, m := binary.Uvarint(b[n:])
	if m <= 0 || size > uint64(len(b)-n-m) {
		return 0, nil, nil, fmt.Errorf("grouping: buffered values: %w", statebackend.ErrCorrupt)
	}
	at := n + m
	return count, b[at+int(size):], b[at : at+int(size)], nil
}
