package engine

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// A window's keys can be listed: by key group, those that a layer has by its index, the others by
// a walk along the store, where they lie side by side.

// windowPrefix is how the keys of a window's cells begin in a key group.
func windowPrefix(group, slot int, window []byte) string {
	var buf [64]byte
	b := binary.BigEndian.AppendUint16(buf[:0], uint16(group))
	return string(appendPart(binary.BigEndian.AppendUint16(b, uint16(slot)), window))
}

// windowSuffix is how the record of a window's value ends.
var windowSuffix = append(appendPart(nil, cellWindow), recordValue)

// index notes a value that the layer hasn't had. One that has come and gone may be there
// twice.
func (l *layer) index(key string) {
	if l.byWindow != nil {
		p := windowOfCell(key)
		l.byWindow[p] = append(l.byWindow[p], key)
	}
}

// windowValues calls f with the values of windows under a prefix. Some may come twice.
func (r *reader) windowValues(prefix string, f func(cell string, data []byte) error) error {
	for _, l := range r.layers {
		for _, cell := range l.byWindow[prefix] {
			if data, ok := r.layered(cell); ok && len(data) > 0 {
				if err := f(cell, data); err != nil {
					return err
				}
			}
		}
	}
	st, err := r.store()
	if err != nil || st == nil {
		return err
	}
	type stored struct {
		cell string
		data []byte
	}
	var all []stored
	err = st.Scan([]byte(prefix), prefixEnd(prefix), func(k, v []byte) bool {
		if at := len(k) - 1; bytes.HasSuffix(k, windowSuffix) && !r.hasLayered(k[:at]) {
			all = append(all, stored{string(k[:at]), slices.Clone(v)})
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, s := range all {
		if err := f(s.cell, s.data); err != nil {
			return err
		}
	}
	return nil
}
