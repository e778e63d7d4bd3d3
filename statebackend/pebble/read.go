package pebble

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"
)

// get, multiGet and scan read from the database or a snapshot of it.

func (s *store) get(r pebble.Reader, dst, key []byte) ([]byte, bool, error) {
	if len(key) == 0 {
		return dst, false, nil
	}
	val, done, err := r.Get(key)
	if err == pebble.ErrNotFound {
		return dst, false, nil
	}
	if err != nil {
		return dst, false, s.wrap("get", err)
	}
	dst = append(dst, val...)
	return dst, true, s.wrap("get", done.Close())
}

// multiGet makes one iterator serve all keys. It reads the bottom level's filters,
// which neither Get nor an iterator does unless told: in a store of up to 64 MB
// that level is the only one. (For a single key the iterator costs 1.5 us more
// than what the filter saves on a hit, and 1 us less on a miss.)
func (s *store) multiGet(r pebble.Reader, keys [][]byte) ([][]byte, error) {
	vals := make([][]byte, len(keys))
	it, err := r.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return nil, s.wrap("get", err)
	}
	for i, key := range keys {
		// The default comparer's prefix is the whole key.
		if len(key) == 0 || !it.SeekPrefixGE(key) {
			if err := it.Error(); err != nil {
				it.Close()
				return nil, s.wrap("get", err)
			}
			continue
		}
		val, err := it.ValueAndErr()
		if err != nil {
			it.Close()
			return nil, s.wrap("get", err)
		}
		// Not nil, even when it is empty.
		vals[i] = append(make([]byte, 0, len(val)), val...)
	}
	if err := it.Close(); err != nil {
		return nil, s.wrap("get", err)
	}
	return vals, nil
}

func (s *store) scan(r pebble.Reader, lo, hi []byte, fn func(key, val []byte) bool) (err error) {
	if hi != nil && bytes.Compare(lo, hi) >= 0 {
		return nil
	}
	if len(lo) == 0 {
		lo = nil // an empty bound is a key to pebble, and no key is empty
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return s.wrap("scan", err)
	}
	// Deferred, because fn may panic. Close returns what ended the iteration.
	defer func() {
		if e := it.Close(); e != nil && err == nil {
			err = s.wrap("scan", e)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		val, err := it.ValueAndErr()
		if err != nil {
			return s.wrap("scan", err)
		}
		if !fn(it.Key(), val) {
			return nil
		}
	}
	return nil
}
