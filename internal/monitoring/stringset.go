package monitoring

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
)

// stringSetLimit bounds the sum of a set's string lengths in bytes. The SDKs
// keep to the same figure within a bundle (Python: StringSetData).
const stringSetLimit = 1_000_000

// stringSet is the encoding of an iterable of UTF-8 strings.
//
// A set over its limit keeps those strings before which, in sorted order, there are
// no more than limit bytes. Chosen so, it doesn't matter in which order sets are merged
// or cut: a string left out once has too many bytes before it in every union.
type stringSet struct {
	limit int
	size  int
	items map[string]struct{}
}

func (s *stringSet) merge(p []byte) error {
	// Walk it twice, so that a payload broken at its end adds nothing.
	if err := eachString(p, func([]byte) {}); err != nil {
		return err
	}
	if s.items == nil {
		s.items = make(map[string]struct{})
	}
	_ = eachString(p, func(b []byte) {
		if _, ok := s.items[string(b)]; !ok {
			s.items[string(b)] = struct{}{}
			s.size += len(b)
		}
	})
	if s.size > s.limit {
		s.cut()
	}
	return nil
}

func (s *stringSet) cut() {
	before := 0
	for _, item := range slices.Sorted(maps.Keys(s.items)) {
		if before > s.limit {
			delete(s.items, item)
			continue
		}
		before += len(item)
	}
	s.size = before
}

func (s *stringSet) payload() []byte {
	b := make([]byte, 0, 4+s.size+3*len(s.items))
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.items)))
	for _, item := range slices.Sorted(maps.Keys(s.items)) {
		b = binary.AppendUvarint(b, uint64(len(item)))
		b = append(b, item...)
	}
	return b
}

// eachString calls f for each string of an encoded iterable, in both of the
// iterable coder's forms: a count and the elements, or -1 and counted chunks up to
// an empty one.
func eachString(p []byte, f func([]byte)) error {
	r := reader{rest: p}
	elements := func(n int64) {
		for ; n > 0 && r.err == nil; n-- {
			if b := r.bytes(r.varint()); r.err == nil {
				f(b)
			}
		}
	}
	switch n := r.int32(); {
	case n >= 0:
		elements(int64(n))
	case n == -1:
		for r.err == nil {
			chunk := r.varint()
			if chunk == 0 {
				break
			}
			if chunk < 0 {
				return errNegativeCount
			}
			elements(chunk)
		}
	default:
		return errors.New("the iterable's length is negative")
	}
	return r.end()
}
