package monitoring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"
)

var (
	errNegativeCount = errors.New("the count is negative")
	errTruncated     = errors.New("the payload ends too early")
)

type number interface{ int64 | float64 }

// read reads a number in Beam's encoding of its type: beam:coder:varint:v1 or
// beam:coder:double:v1.
func read[T number](r *reader) (v T) {
	switch p := any(&v).(type) {
	case *int64:
		*p = r.varint()
	case *float64:
		*p = r.double()
	}
	return v
}

// appendNumber is the reverse of read.
func appendNumber[T number](b []byte, v T) []byte {
	switch v := any(v).(type) {
	case int64:
		return binary.AppendUvarint(b, uint64(v))
	case float64:
		return binary.BigEndian.AppendUint64(b, math.Float64bits(v))
	}
	return b
}

// reader walks a payload. After its first error it yields zeros.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

func (r *reader) varint() int64 {
	v, n := binary.Uvarint(r.rest)
	switch {
	case n > 0:
		r.rest = r.rest[n:]
		return int64(v)
	case n == 0:
		r.fail(errTruncated)
	default:
		r.fail(errors.New("a varint is longer than 64 bits"))
	}
	return 0
}

func (r *reader) double() float64 {
	if b := r.bytes(8); b != nil {
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.bytes(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// bytes returns the next n bytes of the payload itself, nil if there are fewer.
func (r *reader) bytes(n int64) []byte {
	if n < 0 || n > int64(len(r.rest)) {
		r.fail(errTruncated)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// end returns the first error, one if there are bytes left over.
func (r *reader) end() error {
	if r.err == nil && len(r.rest) > 0 {
		return fmt.Errorf("%d bytes follow the value", len(r.rest))
	}
	return r.err
}

func mustMarshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		// It was read from bytes or made of strings that were.
		panic(fmt.Sprintf("BUG: monitoring: marshal %T: %v", m, err))
	}
	return b
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
