package coders

import "math"

// MaxVarint is the most bytes a varint takes.
const MaxVarint = 10

// maxLength bounds what a length prefix may claim. Beam's Java SDK reads lengths as
// 32-bit integers, so nothing longer can be meant.
const maxLength = math.MaxInt32

// AppendVarint appends v as beam:coder:varint:v1 does: the two's complement, 7 bits
// a byte, least significant first. Negative numbers take 10 bytes.
func AppendVarint(dst []byte, v int64) []byte {
	u := uint64(v)
	for u >= 0x80 {
		dst = append(dst, byte(u)|0x80)
		u >>= 7
	}
	return append(dst, byte(u))
}

// AppendLength appends the length prefix of n bytes. n must not be negative.
func AppendLength(dst []byte, n int) []byte { return AppendVarint(dst, int64(n)) }

// ReadVarint returns the varint at the start of b and how many bytes it takes, at
// most MaxVarint. Encodings longer than needed are accepted, as the SDKs do.
func ReadVarint(b []byte) (v int64, n int, err error) {
	u, i := uvarint(b, 0)
	n, err = done(i)
	return int64(u), n, err
}

// uvarint reads the varint at b[i:] and returns the position behind it.
func uvarint(b []byte, i int) (uint64, int) {
	var v uint64
	for shift := uint(0); ; shift += 7 {
		if i >= len(b) {
			return 0, short
		}
		c := b[i]
		i++
		// The tenth byte has room for one bit; more, or a byte to follow, overflows.
		if shift == 63 && c > 1 {
			return 0, badVarint
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, i
		}
	}
}

// skipVarint returns the position behind the varint at b[i:].
func skipVarint(b []byte, i int) int {
	if i < len(b) && b[i] < 0x80 {
		return i + 1
	}
	_, i = uvarint(b, i)
	return i
}

// skipPrefixed returns the position behind the length-prefixed bytes at b[i:].
func skipPrefixed(b []byte, i int) int {
	if i < len(b) && b[i] < 0x80 {
		i += 1 + int(b[i])
		if i > len(b) {
			return short
		}
		return i
	}
	return skipLongPrefixed(b, i)
}

func skipLongPrefixed(b []byte, i int) int {
	n, i := uvarint(b, i)
	if i < 0 {
		return i
	}
	if n > maxLength {
		return badLength
	}
	if n > uint64(len(b)-i) {
		return short
	}
	return i + int(n)
}
