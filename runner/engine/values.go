package engine

import (
	"slices"

	"github.com/summerbeam/summerbeam/statebackend"
)

// value is a cell that is only ever written whole. One record has it, under a key that
// stays the same: to read it is one look-up and to write it one put, where a bag's cell,
// which later epochs add to, takes scans.
//
// So its record is written over by later epochs, as no other's is. A reader that began
// before such an epoch was cut still reads what it should: a shard has one writer, the run
// that the reader belongs to, and what was applied before that is in the reader's own
// layers, which are asked first.
type value struct {
	// data is empty for a value that goes.
	data []byte
	// fresh says that no layer below has it, and neither has the store: once it goes, nothing
	// need be deleted.
	fresh bool
}

const (
	recordValue = 'v' // a record's kind, without a suffix and without an epoch

	// valueOverhead is about what a value takes besides its bytes.
	valueOverhead = 80
)

// recordBytes is about how many bytes the layer's records take in a batch.
func (l *layer) recordBytes() int {
	const each = 8 // for the lengths of a key and a value, and what makes a record's key of a cell's
	return int(l.size()) - (valueOverhead-each)*len(l.values) - (cellOverhead-each)*len(l.cells)
}

func (v value) size(key string) int64 { return int64(len(key)+len(v.data)) + valueOverhead }

// setValue sets a value that the layer doesn't have yet.
func (l *layer) setValue(key string, v value) {
	if l.values == nil {
		l.values = make(map[string]value, l.expect)
	}
	l.values[key] = v
	l.valueBytes += v.size(key)
}

// mergeValues applies a newer layer's values on top of l's.
func (l *layer) mergeValues(newer *layer) {
	for key, n := range newer.values {
		old, ok := l.values[key]
		if ok {
			n.fresh = old.fresh
			l.valueBytes -= old.size(key)
		}
		// What came and went between two epochs is never written.
		switch {
		case n.fresh && len(n.data) == 0:
			delete(l.values, key)
		default:
			l.setValue(key, n)
			if !ok {
				l.index(key)
			}
		}
	}
}

// valueGrowth is how many bytes more below takes once l's values are merged into it.
func (l *layer) valueGrowth(below *layer) (n int64) {
	for key, v := range l.values {
		old, ok := below.values[key]
		if ok {
			n -= old.size(key)
			v.fresh = old.fresh
		}
		if !v.fresh || len(v.data) > 0 {
			n += v.size(key)
		}
	}
	return n
}

// layered returns a value's bytes, not to be changed, if a layer says what they are.
func (r *reader) layered(key string) ([]byte, bool) {
	for _, l := range r.layers {
		if v, ok := l.values[key]; ok {
			return v.data[:len(v.data):len(v.data)], true
		}
	}
	return nil, false
}

// hasLayered says that a layer knows a value.
func (r *reader) hasLayered(key []byte) bool {
	for _, l := range r.layers {
		if _, ok := l.values[string(key)]; ok {
			return true
		}
	}
	return false
}

// value returns a value's bytes, not to be changed; none if it isn't there.
func (r *reader) value(key string) ([]byte, error) {
	if data, ok := r.knownValue(key); ok {
		return data, nil
	}
	return r.storedValue(key)
}

// knownValue is value without the store.
func (r *reader) knownValue(key string) ([]byte, bool) {
	if data, ok := r.layered(key); ok {
		return data, true
	}
	if c, ok := r.shard.clean(r.below(), key); ok {
		return c.data, true
	}
	data, ok := r.fetched[key]
	return data[:len(data):len(data)], ok
}

// storedValue reads a value that is nowhere else.
func (r *reader) storedValue(key string) ([]byte, error) {
	st, err := r.store()
	if err != nil || st == nil {
		return nil, err
	}
	data, _, err := st.Get(nil, append(append(make([]byte, 0, len(key)+1), key...), recordValue))
	if err != nil {
		return nil, err
	}
	data = data[:len(data):len(data)]
	if len(data) > 0 {
		r.shard.learnValue(r.below(), key, data)
	}
	return data, nil
}

// writeValues puts a frozen layer's values into a batch, in order: the stores' tables in memory take
// them at a fraction of the cost then, one beside the other.
func (l *layer) writeValues(b statebackend.Batch) {
	keys := make([]string, 0, len(l.values))
	for key := range l.values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var at []byte
	for _, key := range keys {
		v := l.values[key]
		at = append(append(at[:0], key...), recordValue)
		if len(v.data) > 0 {
			b.Put(at, v.data)
		} else {
			b.Delete(at)
		}
	}
}

// settleValues takes in what was written, of values that are remembered, or for which there is room.
// cellsMu is held.
func (cc *cleanCells) settleValues(l *layer) {
	if cc.limit <= 0 {
		return
	}
	for key, v := range l.values {
		old, ok := cc.cells[key]
		c := cleanCell{data: v.data}
		switch {
		case ok && len(v.data) == len(old.data) && cap(v.data) == cap(old.data):
			cc.cells[key] = c
		case len(v.data) == 0:
			cc.drop(key)
		case ok || cc.room(key, &c):
			cc.put(key, c)
		}
	}
}
