package engine

import "github.com/cespare/xxhash/v2"

// idSet has ids by their hashes, so that the store isn't asked for what it doesn't have. It may
// lack some: those of before a restart, and those over its limit. So whoever uses it must
// count.
type idSet struct {
	count map[uint32]uint32 // how many ids have the hash
	n     int
	limit int
}

// idBytes is about what an id takes.
const idBytes = 14

func idHash(sum uint64) uint32 { return uint32(sum ^ sum>>32) }

func (s *idSet) add(id string) bool {
	if s.n >= s.limit {
		return false
	}
	if s.count == nil {
		s.count = make(map[uint32]uint32)
	}
	s.count[idHash(xxhash.Sum64String(id))]++
	s.n++
	return true
}

// remove takes an id out, or one that looks like it: then too few are left, and not too
// many.
func (s *idSet) remove(id string) bool {
	h := idHash(xxhash.Sum64String(id))
	c, ok := s.count[h]
	if !ok {
		return false
	}
	if s.n--; c > 1 {
		s.count[h] = c - 1
	} else {
		delete(s.count, h)
	}
	return true
}

// may says that the id is in the set, or looks like one that is: of a million, one in some
// thousands does.
func (s *idSet) may(id []byte) bool {
	_, ok := s.count[idHash(xxhash.Sum64(id))]
	return ok
}
