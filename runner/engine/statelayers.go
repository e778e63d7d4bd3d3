package engine

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/summerbeam/summerbeam/statebackend"
)

// shardState is the user state of one shard of one stage, above the store.
type shardState struct {
	views atomic.Pointer[views]
	kept  cleanCells
	cache cacheToken
	// expect is how many values a bundle stages, perhaps: as many as the last did. The loop
	// touches it, between two bundles.
	expect int
	habits habits
	// listed says that the keys of windows are asked for, see windowValues.
	listed bool
}

// views is what a reader sees of a shard at one moment. frozen may be nil.
type views struct{ dirty, frozen *layer }

// below is the first epoch that is not in the store, or not for sure.
func (v *views) below() uint64 {
	if v.frozen != nil {
		return v.frozen.epoch
	}
	return v.dirty.epoch
}

// apply puts what a bundle has staged on top of the dirty layer.
func (s *shardState) apply(staged *layer) {
	dirty := s.views.Load().dirty
	before := dirty.size()
	s.expect = len(staged.values)
	dirty.merge(staged)
	s.kept.mem.add(memState, dirty.size()-before)
}

// newShardState makes a shard's state, which remembers up to limit bytes of what is in
// the store.
func newShardState(mem *memory, limit int64) *shardState {
	s := &shardState{kept: cleanCells{mem: mem, limit: limit}}
	s.begin(0)
	return s
}

// begin has the shard go on from an epoch that is in the store.
func (s *shardState) begin(epoch uint64) { s.views.Store(&views{dirty: s.layer(epoch + 1)}) }

func (s *shardState) layer(epoch uint64) *layer {
	l := newLayer(epoch)
	if s.listed {
		l.byWindow = make(map[string][]string)
	}
	return l
}

// freeze puts the dirty layer below a new, empty one. The driver calls it, at every
// epoch: layers count the epochs by themselves.
func (s *shardState) freeze() (frozen *layer) {
	v := s.views.Load()
	dirty := s.layer(v.dirty.epoch + 1)
	dirty.expect = len(v.dirty.values)
	s.views.Store(&views{dirty: dirty, frozen: v.dirty})
	return v.dirty
}

// A cell's records in the store: cellKey, a kind byte, a suffix by kind, the epoch.
// Records are never overwritten by a later epoch, only deleted.
const (
	recordBag      = 'b' // suffix: none
	recordMultimap = 'm' // suffix: map key with its length
	recordList     = 'o' // suffix: sort key; then the epoch and a count within it
)

// reader reads one shard's cells as of one moment: its layers from the top down,
// then the store.
type reader struct {
	layers []*layer // newest first
	store  func() (statebackend.Reader, error)
	shard  *shardState // remembers what it reads
	views  *views      // the shard's, of that moment
	// fetched are values that were read from the store ahead of time.
	fetched map[string][]byte
}

// reader reads the shard as it is now, with what a bundle has staged on top of it, if anything.
func (s *shardState) reader(store func() (statebackend.Reader, error), staged ...*layer) reader {
	v := s.views.Load()
	r := reader{layers: append(staged[:len(staged):len(staged)], v.dirty), store: store, shard: s, views: v}
	if v.frozen != nil {
		r.layers = append(r.layers, v.frozen)
	}
	return r
}

// below is the first epoch whose records the layers already hold.
func (r *reader) below() uint64 { return r.layers[len(r.layers)-1].epoch }

// bag returns a bag's content, not to be changed.
func (r *reader) bag(key string) ([]byte, error) {
	var parts [8][]byte
	n := 0
	for _, l := range r.layers {
		c := l.cells[key]
		if c == nil {
			continue
		}
		if len(c.bag) > 0 {
			parts[n] = c.bag
			n++
		}
		if c.cleared {
			return joinBag(parts[:n]), nil
		}
	}
	stored, err := r.storedBag(key)
	if err != nil {
		return nil, err
	}
	if len(stored) > 0 {
		parts[n] = stored
		n++
	}
	return joinBag(parts[:n]), nil
}

// joinBag puts a bag together from its parts, of which the newest is first.
func joinBag(parts [][]byte) []byte {
	if len(parts) == 1 {
		return parts[0][:len(parts[0]):len(parts[0])]
	}
	var out []byte
	for i := len(parts) - 1; i >= 0; i-- {
		out = append(out, parts[i]...)
	}
	return out
}

// storedBag returns what the store has of a bag, or what is remembered of that.
func (r *reader) storedBag(key string) ([]byte, error) {
	if c, ok := r.shard.clean(r.below(), key); ok {
		return c.data, nil
	}
	data, epochs, err := r.scanBag(nil, key+string(rune(recordBag)))
	if err == nil {
		c := cleanCell{data: data[:len(data):len(data)]}
		for _, e := range epochs {
			c.note(e)
		}
		r.shard.learn(r.below(), key, c)
	}
	return data, err
}

// mapValue appends a multimap's values for one map key to dst.
func (r *reader) mapValue(dst []byte, key string, mapKey []byte) ([]byte, error) {
	prefix := string(appendPart(append([]byte(key), recordMultimap), mapKey))
	return r.read(dst, prefix, func(l *layer) *cell {
		c := l.cells[key]
		if c == nil {
			return nil
		}
		s := c.sub[string(mapKey)]
		if s == nil && c.cleared {
			return &cell{cleared: true}
		}
		if s != nil && c.cleared && !s.cleared {
			return &cell{cleared: true, bag: s.bag}
		}
		return s
	})
}

// read puts a multimap's bag together from the oldest part to the newest.
func (r *reader) read(dst []byte, prefix string, at func(*layer) *cell) ([]byte, error) {
	bottom := -1 // index of the layer that hides the rest
	for i, l := range r.layers {
		if c := at(l); c != nil && c.cleared {
			bottom = i
			break
		}
	}
	if bottom < 0 {
		var err error
		if dst, _, err = r.scanBag(dst, prefix); err != nil {
			return nil, err
		}
		bottom = len(r.layers) - 1
	}
	for i := bottom; i >= 0; i-- {
		if c := at(r.layers[i]); c != nil {
			dst = append(dst, c.bag...)
		}
	}
	return dst, nil
}

func (r *reader) scanBag(dst []byte, prefix string) (data []byte, epochs []uint64, err error) {
	st, err := r.store()
	if err != nil || st == nil {
		return dst, nil, err
	}
	var bad error
	err = st.Scan([]byte(prefix), prefixEnd(prefix), func(k, v []byte) bool {
		if len(k) != len(prefix)+8 {
			bad = fmt.Errorf("state record %x: %w", k, statebackend.ErrCorrupt)
			return false
		}
		if e := binary.BigEndian.Uint64(k[len(prefix):]); e < r.below() {
			dst, epochs = append(dst, v...), append(epochs, e)
		}
		return true
	})
	if err == nil {
		err = bad
	}
	return dst, epochs, err
}

// mapKeys appends the map keys that have a value, in no promised order.
func (r *reader) mapKeys(dst []byte, key string) ([]byte, error) {
	err := r.eachMapKey(key, func(k string, _ []byte) error {
		dst = append(dst, k...)
		return nil
	})
	return dst, err
}

// eachMapKey calls f with each map key that has a value, and its values.
func (r *reader) eachMapKey(key string, f func(mapKey string, values []byte) error) error {
	var keys []string
	seen := make(map[string]bool)
	note := func(k string) {
		if !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	hidden := false
	for _, l := range r.layers {
		if c := l.cells[key]; c != nil {
			for k := range c.sub {
				note(k)
			}
			if hidden = c.cleared; hidden {
				break
			}
		}
	}
	if !hidden {
		st, err := r.store()
		if err != nil {
			return err
		}
		if st != nil {
			prefix := key + string(rune(recordMultimap))
			var bad error
			err := st.Scan([]byte(prefix), prefixEnd(prefix), func(k, _ []byte) bool {
				rest := k[len(prefix):]
				n, w := binary.Uvarint(rest)
				if w <= 0 || uint64(len(rest)-w) != n+8 {
					bad = fmt.Errorf("state record %x: %w", k, statebackend.ErrCorrupt)
					return false
				}
				note(string(rest[w : w+int(n)]))
				return true
			})
			if err == nil {
				err = bad
			}
			if err != nil {
				return err
			}
		}
	}
	for _, k := range keys {
		v, err := r.mapValue(nil, key, []byte(k))
		if err != nil {
			return err
		}
		if len(v) == 0 {
			continue
		}
		if err := f(k, v); err != nil {
			return err
		}
	}
	return nil
}

// list appends an ordered list's entries within the range, in order.
func (r *reader) list(dst []byte, key string, in sortRange) ([]byte, error) {
	all, err := r.entries(key, in)
	for _, e := range all {
		dst = append(dst, e.data...)
	}
	return dst, err
}

// entries returns an ordered list's entries within the range, in order.
func (r *reader) entries(key string, in sortRange) ([]listEntry, error) {
	var all []listEntry
	bottom := len(r.layers) - 1
	hidden := false
	for i, l := range r.layers {
		if c := l.cells[key]; c != nil && c.cleared {
			bottom, hidden = i, true
			break
		}
	}
	if !hidden {
		st, err := r.store()
		if err != nil {
			return nil, err
		}
		if st != nil {
			if all, err = r.scanList(st, key, in); err != nil {
				return nil, err
			}
		}
	}
	sum := cell{list: all, cleared: true}
	for i := bottom; i >= 0; i-- {
		c := r.layers[i].cells[key]
		if c == nil {
			continue
		}
		for _, g := range c.gone {
			sum.clearRange(g)
		}
		sum.insertAll(c.within(in))
	}
	return sum.list, nil
}

// firstEntry returns the least sort key in a list that is from or later. No range that
// was cleared may lie between from and that.
func (r *reader) firstEntry(key string, from int64) (sort int64, found bool, err error) {
	in := sortRange{from, everySort.to}
	for _, l := range r.layers {
		c := l.cells[key]
		if c == nil {
			continue
		}
		if list := c.within(in); len(list) > 0 && (!found || list[0].sort < sort) {
			sort, found = list[0].sort, true
		}
		if c.cleared {
			return sort, found, nil
		}
	}
	st, err := r.store()
	if err != nil || st == nil {
		return sort, found, err
	}
	err = r.scanEntries(st, key, in, func(e listEntry) bool {
		if !found || e.sort < sort {
			sort, found = e.sort, true
		}
		return false
	})
	return sort, found, err
}

func (r *reader) scanList(st statebackend.Reader, key string, in sortRange) (all []listEntry, err error) {
	err = r.scanEntries(st, key, in, func(e listEntry) bool {
		all = append(all, listEntry{sort: e.sort, data: append([]byte(nil), e.data...)})
		return true
	})
	return all, err
}

// scanEntries calls f with the entries that the store has for r, until f returns false.
// Their data is valid during the call.
func (r *reader) scanEntries(st statebackend.Reader, key string, in sortRange, f func(listEntry) bool) error {
	prefix := key + string(rune(recordList))
	lo := appendSort([]byte(prefix), in.from)
	hi := appendSort([]byte(prefix), in.to)
	var bad error
	err := st.Scan(lo, hi, func(k, v []byte) bool {
		rest := k[len(prefix):]
		if len(rest) != 20 {
			bad = fmt.Errorf("state record %x: %w", k, statebackend.ErrCorrupt)
			return false
		}
		if binary.BigEndian.Uint64(rest[8:]) < r.below() {
			return f(listEntry{sort: readSort(rest), data: v})
		}
		return true
	})
	if err == nil {
		err = bad
	}
	return err
}

// appendSort writes a sort key so that bytes order as the numbers do.
func appendSort(dst []byte, k int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(k)^(1<<63))
}

func readSort(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ (1 << 63)) }

// prefixEnd is the first key behind all keys that begin with p; p's last byte is
// never 0xff where it is used.
func prefixEnd(p string) []byte {
	b := []byte(p)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0xff {
			b[i]++
			return b[:i+1]
		}
	}
	return nil
}

// writeLayer puts a frozen layer's records into a batch.
func (s *shardState) writeLayer(b statebackend.Batch, st statebackend.Reader, l *layer) error {
	l.writeValues(b)
	var key []byte
	for k, c := range l.cells {
		if c.cleared {
			if err := s.deleteCell(b, st, k); err != nil {
				return err
			}
		}
		if len(c.bag) > 0 {
			key = append(append(key[:0], k...), recordBag)
			b.Put(binary.BigEndian.AppendUint64(key, l.epoch), c.bag)
		}
		for mk, sub := range c.sub {
			key = appendPart(append(append(key[:0], k...), recordMultimap), mk)
			if sub.cleared && !c.cleared {
				if err := deletePrefix(b, st, string(key)); err != nil {
					return err
				}
			}
			if len(sub.bag) > 0 {
				b.Put(binary.BigEndian.AppendUint64(key, l.epoch), sub.bag)
			}
		}
		for _, g := range c.gone {
			prefix := append(append(key[:0], k...), recordList)
			b.DeleteRange(appendSort(prefix[:len(prefix):len(prefix)], g.from), appendSort(prefix[:len(prefix):len(prefix)], g.to))
		}
		for i, e := range c.list {
			key = appendSort(append(append(key[:0], k...), recordList), e.sort)
			key = binary.BigEndian.AppendUint64(key, l.epoch)
			b.Put(binary.BigEndian.AppendUint32(key, uint32(i)), e.data)
		}
	}
	return nil
}

// deletePrefix deletes a cell's old records: there are few, and deleting each by
// itself spares the store a range tombstone for every update of a value. Many go
// by a range.
func deletePrefix(b statebackend.Batch, st statebackend.Reader, prefix string) error {
	const few = 64
	var keys [][]byte
	err := st.Scan([]byte(prefix), prefixEnd(prefix), func(k, _ []byte) bool {
		keys = append(keys, append([]byte(nil), k...))
		return len(keys) <= few
	})
	if err != nil {
		return err
	}
	if len(keys) > few {
		b.DeleteRange([]byte(prefix), prefixEnd(prefix))
		return nil
	}
	for _, k := range keys {
		b.Delete(k)
	}
	return nil
}
