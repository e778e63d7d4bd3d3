package engine

import "github.com/cespare/xxhash/v2"

// doorkeeper knows, but for a few errors, which keys came lately. Of keys that come once, as most do
// where keys are many, a cache that is full takes none: each would put out another, at the price
// of two changes of the table, and go before it is read.
type doorkeeper struct {
	bits []uint64
	// seen is how many came since the bits were last cleared.
	seen int
}

// doorShare is how many bytes of the cache there are for one of the doorkeeper. Its bits are
// then about eight for each small cell that the cache has room for.
const doorShare = 128

// again says that a key has come before, and notes that it has come. limit is the cache's size in bytes.
func (d *doorkeeper) again(key string, limit int64) bool {
	if d.bits == nil {
		words := 1
		for int64(words) < limit/doorShare/8 {
			words *= 2
		}
		d.bits = make([]uint64, words)
	}
	h := xxhash.Sum64String(key)
	word, bit := &d.bits[h>>6%uint64(len(d.bits))], uint64(1)<<(h&63)
	if *word&bit != 0 {
		return true
	}
	*word |= bit
	if d.seen++; d.seen > 16*len(d.bits) {
		// A quarter are set: more would pass for others.
		clear(d.bits)
		d.seen = 0
	}
	return false
}
