package engine

import "iter"

// A user's state that SDKs write whole is kept as a value: Beam's ReadModifyWrite (ValueState), and a
// combiner's accumulator. SDKs address both as bags. They clear and append to write, so the value is
// put together in the bundle's layer and goes down as one record.
//
// Beam's Python SDK appends an accumulator without a clear, half of the time, and merges what has come
// together the other half (bundle_processor.py, CombiningValueRuntimeState). So a value may be appended
// to: it is read then, and written again with what is new. A state that only ever grows would be written
// again and again; it is a bag, and SDKs declare it so.

// appendValue appends to a value as the bundle sees it. b.mu is held, and cell is the one that
// was asked for last.
func (b *bundleState) appendValue(cell string, data []byte) error {
	l := b.mu.staged
	v, ok := l.values[cell]
	if !ok {
		v.fresh = b.mu.absent
		if !v.fresh {
			old, err := b.value(b.mu.last)
			if err != nil {
				return err
			}
			v = value{data: append(make([]byte, 0, len(old)+len(data)), old...), fresh: len(old) == 0}
		}
		l.setValue(cell, v)
	}
	v.data = append(v.data, data...)
	l.values[cell] = v
	l.valueBytes += int64(len(data))
	return nil
}

// value returns a value as the bundle sees it. b.mu is held, and a is what was asked for last.
func (b *bundleState) value(a address) ([]byte, error) {
	if v, ok := b.mu.staged.values[a.cell]; ok {
		return v.data[:len(v.data):len(v.data)], nil
	}
	if data, ok := b.mu.ahead.last(); ok {
		b.mu.ahead.asks(a.number)
		return data, nil
	}
	r := b.reader()
	if data, ok := r.knownValue(a.cell); ok {
		return data, nil
	}
	b.mu.ahead.asks(a.number)
	return r.storedValue(a.cell)
}

// clearValue takes a value away. absent says that no layer below has it, and neither has the store.
func (l *layer) clearValue(cell string, absent bool) {
	v, ok := l.values[cell]
	if !ok {
		l.setValue(cell, value{fresh: absent})
		return
	}
	// Whoever has read the bytes may have them still: the next ones go elsewhere.
	l.valueBytes -= int64(len(v.data))
	l.values[cell] = value{fresh: v.fresh}
}

// all yields the keys of all cells and values.
func (l *layer) all() iter.Seq[string] {
	return func(yield func(string) bool) {
		for key := range l.cells {
			if !yield(key) {
				return
			}
		}
		for key := range l.values {
			if !yield(key) {
				return
			}
		}
	}
}
