package engine

// windowSet has the keys and windows of a grouping's shard that have a value in state. To ask
// the store for what is not there is what it is worst at, and most windows are new when they are
// opened.
//
// Those of before a restart are not in it, nor are those over its limit. But it knows how many there
// are, and as long as that is not how many it has, the store is asked.
type windowSet struct {
	ids   idSet
	total int
	mem   *memory
}

// may says that the window has a value, or perhaps.
func (s *windowSet) may(id []byte) bool { return s.ids.n != s.total || s.ids.may(id) }

func (s *windowSet) add(id string) {
	s.total++
	if s.ids.add(id) {
		s.mem.add(memState, idBytes)
	}
}

func (s *windowSet) remove(id string) {
	s.total--
	if s.ids.remove(id) {
		s.mem.add(memState, -idBytes)
	}
}

// windowShare is how many windows a set may have: an eighth of the budget for a stage.
func windowShare(mem *memory, shards int) int {
	return int(mem.share(8*int64(shards), 64<<10, 64<<20) / idBytes)
}
