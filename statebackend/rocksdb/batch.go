//go:build rocksdb

package rocksdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/summerbeam/summerbeam/statebackend"
)

// batch is a RocksDB write batch, written down in Go in the format of its log
// (write_batch.cc): sequence number as fixed 64 bits, count as fixed 32, then
// records of a tag and length-prefixed strings. So a batch costs one call into
// C, not one per operation, and has nothing that must be freed or that a
// closed store takes with it.
type batch struct {
	store   *store
	rep     []byte
	ops     uint32
	written bool
	closed  bool
	err     error // what was wrong with the calls so far
}

const (
	headerLen = 12

	tagDelete      = 0x0
	tagPut         = 0x1
	tagDeleteRange = 0xf

	// keepBatch is how much memory a Reset keeps for the next round.
	keepBatch = 8 << 20
)

var (
	errBatchClosed  = errors.New("the batch is closed")
	errBatchWritten = errors.New("the batch was written already: Reset it before it is used again")
	errEmptyKey     = errors.New("an empty key was put")
)

func (s *store) NewBatch() statebackend.Batch {
	return &batch{store: s, rep: make([]byte, headerLen)}
}

// Grow implements statebackend.Batch.
func (b *batch) Grow(bytes int) {
	if b.ops == 0 {
		b.rep = slices.Grow(b.rep, bytes)
	}
}

// ready tells whether the batch may be changed and written.
func (b *batch) ready() error {
	switch {
	case b.err != nil:
		return b.err
	case b.closed:
		return errBatchClosed
	case b.written:
		return errBatchWritten
	}
	return nil
}

// record appends an operation; if the batch may not be changed, Write says why.
func (b *batch) record(tag byte, x, y []byte) {
	if b.err = b.ready(); b.err != nil {
		return
	}
	b.rep = append(b.rep, tag)
	b.rep = binary.AppendUvarint(b.rep, uint64(len(x)))
	b.rep = append(b.rep, x...)
	if tag != tagDelete {
		b.rep = binary.AppendUvarint(b.rep, uint64(len(y)))
		b.rep = append(b.rep, y...)
	}
	b.ops++
}

func (b *batch) Put(key, val []byte) {
	b.record(tagPut, key, val)
	if len(key) == 0 && b.err == nil {
		b.err = errEmptyKey
	}
}

func (b *batch) Delete(key []byte) {
	if len(key) > 0 { // there is no such key
		b.record(tagDelete, key, nil)
	}
}

func (b *batch) DeleteRange(lo, hi []byte) {
	// RocksDB refuses a whole batch for a range upside down.
	if bytes.Compare(lo, hi) < 0 {
		b.record(tagDeleteRange, lo, hi)
	}
}

func (b *batch) Len() int { return int(b.ops) }

func (b *batch) Bytes() int {
	if b.ops == 0 {
		return 0
	}
	return len(b.rep)
}

// finish returns the format of what is in the batch.
func (b *batch) finish() []byte {
	binary.LittleEndian.PutUint32(b.rep[8:], b.ops)
	return b.rep
}

func (b *batch) Reset() {
	if b.closed {
		return
	}
	if cap(b.rep) > keepBatch {
		b.rep = make([]byte, headerLen)
	}
	b.rep = b.rep[:headerLen]
	b.ops, b.written, b.err = 0, false, nil
}

func (b *batch) Close() error {
	b.rep, b.ops, b.closed = nil, 0, true
	return nil
}
