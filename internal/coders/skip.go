package coders

import "encoding/binary"

// op says how a node's encoding is skipped.
type op byte

const (
	opFixed    op = iota // a fixed number of bytes, all values of which are valid
	opPrefixed           // a varint length and that many bytes
	opVarint
	opBool
	opPair         // a, then b
	opPrefixedPair // opPair of two opPrefixed: byte strings keyed by byte strings
	opIterable     // of a
	opMap          // of a, which is a pair
	opNullable     // a marker, then perhaps a
	opWindowed     // a header with windows of b, then a
	opTimer        // key a, windows b
	opRow
)

// A node skips the elements of one coder. Nodes form a graph without cycles, at most
// maxDepth high, and never change once compiled.
type node struct {
	op     op
	height int
	// fixed is the size of every element, or -1 if sizes differ or bytes want checking.
	fixed int
	// min is the size of the smallest element. It is 0 only if fixed is 0.
	min  int
	a, b *node
	row  *row
}

// skip returns the position behind the element at b[i:], or a fault.
func (n *node) skip(b []byte, i int) int {
	switch n.op {
	case opFixed:
		if n.fixed > len(b)-i {
			return short
		}
		return i + n.fixed
	case opPrefixed:
		return skipPrefixed(b, i)
	case opVarint:
		return skipVarint(b, i)
	case opBool:
		return skipBool(b, i)
	case opPair:
		if i = n.a.skip(b, i); i < 0 {
			return i
		}
		return n.b.skip(b, i)
	case opPrefixedPair:
		if i = skipPrefixed(b, i); i < 0 {
			return i
		}
		return skipPrefixed(b, i)
	case opIterable:
		return n.a.skipIterable(b, i)
	case opMap:
		if len(b)-i < 4 {
			return short
		}
		count := int32(binary.BigEndian.Uint32(b[i:]))
		if count < 0 {
			return badCount
		}
		return n.a.skipMany(b, i+4, uint64(count))
	case opNullable:
		if i >= len(b) {
			return short
		}
		switch b[i] {
		case 0:
			return i + 1
		case 1:
			return n.a.skip(b, i+1)
		}
		return badNullable
	case opWindowed:
		if len(b)-i < timestampSize {
			return short
		}
		if _, i = n.b.skipWindows(b, i+timestampSize); i < 0 {
			return i
		}
		if i = skipPane(b, i); i < 0 {
			return i
		}
		return n.a.skip(b, i)
	case opTimer:
		return n.skipTimer(b, i, nil)
	default: // opRow
		return n.row.skip(b, i)
	}
}

// skipMany returns the position behind count elements of n at b[i:]. It takes no
// more steps than b has bytes, whatever count claims.
func (n *node) skipMany(b []byte, i int, count uint64) int {
	if n.fixed == 0 {
		return i
	}
	if count > uint64(len(b)-i)/uint64(n.min) {
		return short
	}
	if n.fixed > 0 {
		return i + int(count)*n.fixed
	}
	// A loop of their own for the two coders most lists are of halves their time.
	switch n.op {
	case opPrefixed:
		for ; count > 0 && i >= 0; count-- {
			i = skipPrefixed(b, i)
		}
	case opVarint:
		for ; count > 0 && i >= 0; count-- {
			i = skipVarint(b, i)
		}
	default:
		for ; count > 0 && i >= 0; count-- {
			i = n.skip(b, i)
		}
	}
	return i
}

// skipIterable returns the position behind the iterable of n at b[i:].
//
// A count of -1 means chunks, each with a count of its own, up to one of 0; or up to
// one of -1, behind which stands a token for the rest, which is kept as state.
func (n *node) skipIterable(b []byte, i int) int {
	if len(b)-i < 4 {
		return short
	}
	count := int32(binary.BigEndian.Uint32(b[i:]))
	i += 4
	if count >= 0 {
		return n.skipMany(b, i, uint64(count))
	}
	if count != -1 {
		return badCount
	}
	for {
		var u uint64
		if u, i = uvarint(b, i); i < 0 {
			return i
		}
		switch chunk := int64(u); {
		case chunk > 0:
			if i = n.skipMany(b, i, u); i < 0 {
				return i
			}
		case chunk == 0:
			return i
		case chunk == -1:
			return skipPrefixed(b, i)
		default:
			return badCount
		}
	}
}

func skipBool(b []byte, i int) int {
	if i >= len(b) {
		return short
	}
	if b[i] > 1 {
		return badBool
	}
	return i + 1
}
