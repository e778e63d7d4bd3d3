package pebble

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

func TestDense(t *testing.T) {
	var keys [][]byte
	for i := range 1000 {
		keys = append(keys, fmt.Appendf(nil, "key%03d", i))
	}
	span := func(n uint64) func(lo, hi []byte) uint64 {
		return func(lo, hi []byte) uint64 {
			if !bytes.Equal(lo, keys[0]) || !bytes.Equal(hi, []byte("key999\x00")) {
				t.Errorf("asked for %q to %q", lo, hi)
			}
			return n
		}
	}
	reversed := slices.Clone(keys)
	slices.Reverse(reversed)
	empty := append([][]byte{nil}, keys...)
	for _, c := range []struct {
		name string
		keys [][]byte
		span uint64
		want bool
	}{
		{"close together", keys, 1 << 20, true},
		{"far apart", keys, 1 << 30, false},
		{"few", keys[:10], 0, false},
		{"none", nil, 0, false},
		{"in no order", reversed, 0, false},
		{"an empty one", empty, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, ok := dense(c.keys, span(c.span)); ok != c.want {
				t.Errorf("dense: %v", ok)
			}
		})
	}
}
