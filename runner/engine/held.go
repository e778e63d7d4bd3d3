package engine

// held is what the input side of a stage keeps in state, by shard: values that wait for
// their pane, or elements that wait for their turn. The timers are the engine's own: when
// to look at what is held again.
type held struct {
	// slot is where it is stored.
	slot   int
	state  []*shardState
	timers []*shardTimers
}

func newHeld(shards int, mem *memory) *held {
	h := &held{}
	for range shards {
		h.state = append(h.state, newShardState(mem, cleanShare(mem, shards)))
		t := newShardTimers(mem)
		t.windows.ids.limit = windowShare(mem, shards)
		h.timers = append(h.timers, t)
	}
	return h
}
