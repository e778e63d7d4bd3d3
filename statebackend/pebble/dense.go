package pebble

import (
	"bytes"
	"slices"
)

const (
	// denseLeast is how many keys are worth a look at the span.
	denseLeast = 64
	// denseMost is how many bytes there may be on disk for each key: eight blocks. An iterator has no use
	// of filters, so it looks for a key in each of the store's levels. But all above the last are
	// small, and keys that are so close there meet the same blocks.
	denseMost = 32 << 10
)

// dense says that keys are in order and lie close together in the store, and in what range, [lo, hi). span
// estimates the bytes on disk in a range.
func dense(keys [][]byte, span func(lo, hi []byte) uint64) (lo, hi []byte, ok bool) {
	if len(keys) < denseLeast || len(keys[0]) == 0 || !slices.IsSortedFunc(keys, bytes.Compare) {
		return nil, nil, false
	}
	last := keys[len(keys)-1]
	lo, hi = keys[0], append(append(make([]byte, 0, len(last)+1), last...), 0)
	return lo, hi, span(lo, hi)/uint64(len(keys)) <= denseMost
}
