package memstore

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/internal/gate"
)

// store is a directory of a Disk in use.
type store struct {
	disk      *Disk
	dir       string
	content   *content
	ephemeral bool

	gate      gate.Gate
	snapshots gate.Family
}

// enter lets op in, unless the store is closed or the hook says no.
func (s *store) enter(op string) error {
	if !s.gate.Enter() {
		return statebackend.ErrClosed
	}
	if err := s.fail(op); err != nil {
		s.gate.Leave()
		return err
	}
	return nil
}

func (s *store) fail(op string) error {
	if err := s.disk.hook(op); err != nil {
		return fmt.Errorf("memory store %s: %s: %w", s.dir, op, err)
	}
	return nil
}

func (s *store) Get(dst, key []byte) ([]byte, bool, error) {
	if err := s.enter("get"); err != nil {
		return dst, false, err
	}
	defer s.gate.Leave()
	val, found := find(s.content.present(), key)
	return append(dst, val...), found, nil
}

func (s *store) MultiGet(keys [][]byte) ([][]byte, error) {
	if err := s.enter("multiget"); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	return multiGet(s.content.present(), keys), nil
}

func (s *store) Scan(lo, hi []byte, fn func(key, val []byte) bool) error {
	if err := s.enter("scan"); err != nil {
		return err
	}
	defer s.gate.Leave()
	scan(s.content.present(), lo, hi, fn)
	return nil
}

func (s *store) Write(b statebackend.Batch, sync bool) error {
	if err := s.enter("write"); err != nil {
		return err
	}
	defer s.gate.Leave()
	mb, ok := b.(*batch)
	if !ok || mb.store != s {
		return fmt.Errorf("memory store %s: write: the batch was made by another store", s.dir)
	}
	if err := mb.ready(); err != nil {
		return fmt.Errorf("memory store %s: write: %w", s.dir, err)
	}
	s.content.write(mb.apply)
	mb.written = true
	if !sync || s.ephemeral {
		return nil
	}
	if err := s.fail("sync"); err != nil {
		return err
	}
	s.content.sync()
	return nil
}

func (s *store) Checkpoint(dir string) error {
	if err := s.enter("checkpoint"); err != nil {
		return err
	}
	defer s.gate.Leave()
	if err := s.disk.add(dir, s.content.present()); err != nil {
		return fmt.Errorf("memory store %s: checkpoint: %w", s.dir, err)
	}
	return nil
}

// Flush makes everything durable, as writing out memory tables does, except in
// an ephemeral store: there the tests want nothing to survive.
func (s *store) Flush() error {
	if err := s.enter("flush"); err != nil {
		return err
	}
	defer s.gate.Leave()
	if !s.ephemeral {
		s.content.sync()
	}
	return nil
}

// Size is the sum of keys and values.
func (s *store) Size() (int64, error) {
	if err := s.enter("size"); err != nil {
		return 0, err
	}
	defer s.gate.Leave()
	var n int64
	walk(s.content.present(), nil, nil, func(key, val []byte) bool {
		n += int64(len(key) + len(val))
		return true
	})
	return n, nil
}

func (s *store) Snapshot() (statebackend.Snapshot, error) {
	if err := s.enter("snapshot"); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	n := &snapshot{store: s, root: s.content.present()}
	s.snapshots.Add(n)
	return n, nil
}

// Close waits for calls in progress and closes snapshots still open. What was
// not synced stays in the directory, but not over a crash.
func (s *store) Close() error {
	if !s.gate.Shut() {
		return statebackend.ErrClosed
	}
	err := s.fail("close")
	s.snapshots.Close()
	s.content.unlock(s.ephemeral)
	return err
}

// snapshot is a root. Only its being closed needs a look.
type snapshot struct {
	store  *store
	root   *node
	closed atomic.Bool
}

func (n *snapshot) enter(op string) error {
	if n.closed.Load() {
		return statebackend.ErrClosed
	}
	return n.store.fail(op)
}

func (n *snapshot) Get(dst, key []byte) ([]byte, bool, error) {
	if err := n.enter("get"); err != nil {
		return dst, false, err
	}
	val, found := find(n.root, key)
	return append(dst, val...), found, nil
}

func (n *snapshot) MultiGet(keys [][]byte) ([][]byte, error) {
	if err := n.enter("multiget"); err != nil {
		return nil, err
	}
	return multiGet(n.root, keys), nil
}

func (n *snapshot) Scan(lo, hi []byte, fn func(key, val []byte) bool) error {
	if err := n.enter("scan"); err != nil {
		return err
	}
	scan(n.root, lo, hi, fn)
	return nil
}

func (n *snapshot) Close() error {
	if !n.closed.Swap(true) {
		n.store.snapshots.Remove(n)
	}
	return nil
}

func multiGet(root *node, keys [][]byte) [][]byte {
	vals := make([][]byte, len(keys))
	for i, key := range keys {
		if val, found := find(root, key); found {
			vals[i] = append(make([]byte, 0, len(val)), val...)
		}
	}
	return vals
}

// scan lends fn copies that are overwritten by the next, so that a caller which
// keeps them finds out here rather than on a real backend.
func scan(root *node, lo, hi []byte, fn func(key, val []byte) bool) {
	var k, v []byte
	walk(root, lo, hi, func(key, val []byte) bool {
		k, v = append(k[:0], key...), append(v[:0], val...)
		return fn(k, v)
	})
}

// batch is a list of changes.
type batch struct {
	store   *store
	ops     []op
	bytes   int
	written bool
	closed  bool
	err     error
}

// Grow implements statebackend.Batch: it has nothing to move.
func (*batch) Grow(int) {}

type op struct {
	kind     opKind
	key, val []byte // for a range its bounds
}

type opKind byte

const (
	opPut opKind = iota
	opDelete
	opDeleteRange
)

func (s *store) NewBatch() statebackend.Batch { return &batch{store: s} }

// ready tells whether the batch may be changed and written.
func (b *batch) ready() error {
	switch {
	case b.err != nil:
		return b.err
	case b.closed:
		return errors.New("the batch is closed")
	case b.written:
		return errors.New("the batch was written already: Reset it before it is used again")
	}
	return nil
}

func (b *batch) add(kind opKind, key, val []byte) {
	if b.err = b.ready(); b.err != nil {
		return
	}
	b.ops = append(b.ops, op{kind, bytes.Clone(key), bytes.Clone(val)})
	b.bytes += len(key) + len(val) + 1
}

func (b *batch) Put(key, val []byte) {
	b.add(opPut, key, val)
	if len(key) == 0 && b.err == nil {
		b.err = errors.New("an empty key was put")
	}
}

func (b *batch) Delete(key []byte) { b.add(opDelete, key, nil) }

func (b *batch) DeleteRange(lo, hi []byte) {
	if bytes.Compare(lo, hi) < 0 {
		b.add(opDeleteRange, lo, hi)
	}
}

func (b *batch) apply(root *node) *node {
	for _, o := range b.ops {
		switch o.kind {
		case opPut:
			root = put(root, o.key, o.val)
		case opDelete:
			root = removeRange(root, o.key, next(o.key))
		case opDeleteRange:
			root = removeRange(root, o.key, o.val)
		}
	}
	return root
}

func (b *batch) Len() int   { return len(b.ops) }
func (b *batch) Bytes() int { return b.bytes }

func (b *batch) Reset() {
	clear(b.ops)
	b.ops, b.bytes, b.written, b.err = b.ops[:0], 0, false, nil
}

func (b *batch) Close() error {
	b.Reset()
	b.closed = true
	return nil
}
