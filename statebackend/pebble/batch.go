package pebble

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/summerbeam/summerbeam/statebackend"
)

// keepBatch is how much memory a Reset keeps for the next round.
const keepBatch = 8 << 20

// batch is a pebble batch behind the contract's rules: pebble panics when a
// batch is changed or written again after it was written.
type batch struct {
	store   *store
	b       *pebble.Batch // nil once closed
	ops     int
	written bool
	err     error // what was wrong with the calls so far
}

func (s *store) NewBatch() statebackend.Batch {
	return &batch{store: s, b: s.newBatch()}
}

func (s *store) newBatch() *pebble.Batch {
	return s.db.NewBatch(pebble.WithMaxRetainedSizeBytes(keepBatch))
}

// Grow implements statebackend.Batch.
func (b *batch) Grow(bytes int) {
	if b.ready() == nil && b.ops == 0 {
		// It has nothing yet, not even memory, so that closing it is for the order's sake.
		_ = b.b.Close()
		b.b = b.store.db.NewBatch(pebble.WithMaxRetainedSizeBytes(keepBatch), pebble.WithInitialSizeBytes(bytes))
	}
}

// firstKey is at or below every key, and unlike the empty one a key to pebble.
var firstKey = []byte{0}

var (
	errBatchClosed  = errors.New("the batch is closed")
	errEmptyKey     = errors.New("an empty key was put")
	errBatchWritten = errors.New("the batch was written already: Reset it before it is used again")
)

// ready tells whether the batch may be changed and written.
func (b *batch) ready() error {
	switch {
	case b.err != nil:
		return b.err
	case b.b == nil:
		return errBatchClosed
	case b.written:
		return errBatchWritten
	}
	return nil
}

// change reports whether the batch may be changed; if not, Write will say why.
func (b *batch) change() bool {
	b.err = b.ready()
	return b.err == nil
}

func (b *batch) done(err error) {
	b.ops++
	if err != nil {
		b.err = err
	}
}

func (b *batch) Put(key, val []byte) {
	if !b.change() {
		return
	}
	if len(key) == 0 {
		b.err = errEmptyKey
		return
	}
	b.done(b.b.Set(key, val, nil))
}

func (b *batch) Delete(key []byte) {
	if b.change() {
		b.done(b.b.Delete(key, nil))
	}
}

func (b *batch) DeleteRange(lo, hi []byte) {
	if len(lo) == 0 {
		lo = firstKey
	}
	// Pebble wants no empty ranges.
	if bytes.Compare(lo, hi) < 0 && b.change() {
		b.done(b.b.DeleteRange(lo, hi, nil))
	}
}

func (b *batch) Len() int { return b.ops }

func (b *batch) Bytes() int {
	if b.ops == 0 || b.b == nil {
		return 0
	}
	return b.b.Len()
}

func (b *batch) Reset() {
	if b.b == nil {
		return
	}
	b.b.Reset()
	b.ops, b.written, b.err = 0, false, nil
}

func (b *batch) Close() error {
	if b.b == nil {
		return nil
	}
	err := b.b.Close()
	b.b, b.ops = nil, 0
	return err
}
