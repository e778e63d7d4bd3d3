package loadsource

import "encoding/binary"

// Sizes of a record, in bytes.
const (
	KeySize   = 10
	ValueSize = 90
)

// Generator makes the records of one span. Two generators of the same span and
// config make the same records, in the same order.
type Generator struct {
	state uint64
	keys  uint64
	hot   uint64
	left  int
}

// Generator returns the generator of span, 0 to Spans-1.
func (c Config) Generator(span int) *Generator {
	// Neighbouring spans and seeds must not give similar sequences, as xorshift
	// would make of similar states.
	state := scramble(scramble(uint64(c.Seed)) + uint64(span))
	if state == 0 {
		state = 1 // xorshift never leaves zero
	}
	start, end := c.span(span)
	return &Generator{state: state, keys: uint64(c.Keys), hot: uint64(c.Hot), left: end - start}
}

// Next returns the next record, in memory of its own, and false at the end.
func (g *Generator) Next() (key, value []byte, ok bool) {
	if g.left == 0 {
		return nil, nil, false
	}
	g.left--
	// One allocation for both. They are never pieces of a larger slab: whoever
	// keeps one value, as a combiner does, would keep all of the slab.
	b := make([]byte, KeySize+ValueSize)
	key, value = b[:KeySize:KeySize], b[KeySize:]
	x := next(g.state)
	number := x >> 32 * g.keys >> 32
	if x&(1<<32-1)*100>>32 < g.hot {
		number = 0
	}
	putKey(key, number)
	for i := 0; i+8 <= ValueSize; i += 8 {
		x = next(x)
		binary.LittleEndian.PutUint64(value[i:], x)
	}
	value[ValueSize-2], value[ValueSize-1] = byte(x), byte(x>>8)
	g.state = x
	return key, value, true
}

// Key returns the key of number i, 0 to Keys-1.
func Key(i int) []byte {
	b := make([]byte, KeySize)
	putKey(b, uint64(i))
	return b
}

// putKey writes the number as ten letters and digits. Keys of neighbouring
// numbers share no prefix, or a runner that sorts or hashes by prefix would
// look better or worse than it is.
func putKey(b []byte, number uint64) {
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	n := number * 0x9e3779b97f4a7c15 & (1<<50 - 1) // an odd factor: no two numbers below 2^50 collide
	for i := range KeySize {
		b[i] = digits[n>>45]
		n = n << 5 & (1<<50 - 1)
	}
}

// next is Marsaglia's xorshift with the shifts 13, 7 and 17.
func next(x uint64) uint64 {
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	return x
}

// scramble is the finalizer of splitmix64.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
