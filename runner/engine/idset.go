package engine

import "github.com/cespare/xxhash/v2"

// idSet has the ids of timers that are in the store alone, by their hashes, so that the
// store isn't asked for what it doesn't have. It may lack some: those of before a restart,
// and those over its limit. Then has can't be relied on, and whoever uses it must count.
type idSet struct {
	ids   map[uint64]struct{}
	more  map[uint64]int // how many more ids have the hash
	n     int
	limit int
}

// idBytes is about what an id takes.
const idBytes = 16

func (s *idSet) add(id string) bool {
	if s.n >= s.limit {
		return false
	}
	if s.ids == nil {
		s.ids, s.more = make(map[uint64]struct{}), make(map[uint64]int)
	}
	h := xxhash.Sum64String(id)
	if _, ok := s.ids[h]; ok {
		s.more[h]++
	}
	s.ids[h] = struct{}{}
	s.n++
	return true
}

// remove takes an id out, or one that looks like it: then too few are left, and not too
// many.
func (s *idSet) remove(id string) bool {
	h := xxhash.Sum64String(id)
	if _, ok := s.ids[h]; !ok {
		return false
	}
	s.n--
	switch s.more[h] {
	case 0:
		delete(s.ids, h)
	case 1:
		delete(s.more, h)
	default:
		s.more[h]--
	}
	return true
}

// may says that the id is in the set, or looks like one that is.
func (s *idSet) may(id []byte) bool {
	_, ok := s.ids[xxhash.Sum64(id)]
	return ok
}
