package pebble

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/internal/gate"
)

// store is a statebackend.Store. Its methods pass the gate first, because
// pebble answers calls on a closed database with a panic.
type store struct {
	dir       string
	ephemeral bool
	fatal     *fatal
	db        *pebble.DB

	gate      gate.Gate
	snapshots gate.Family
}

func (s *store) enter() error {
	if !s.gate.Enter() {
		return statebackend.ErrClosed
	}
	if err := s.fatal.check(); err != nil {
		s.gate.Leave()
		return s.wrap("use", err)
	}
	return nil
}

func (s *store) Get(dst, key []byte) ([]byte, bool, error) {
	if err := s.enter(); err != nil {
		return dst, false, err
	}
	defer s.gate.Leave()
	return s.get(s.db, dst, key)
}

func (s *store) MultiGet(keys [][]byte) ([][]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	return s.multiGet(s.db, keys)
}

func (s *store) Scan(lo, hi []byte, fn func(key, val []byte) bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	return s.scan(s.db, lo, hi, fn)
}

func (s *store) Write(b statebackend.Batch, sync bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	pb, ok := b.(*batch)
	if !ok || pb.store != s {
		return s.wrap("write", errors.New("the batch was made by another store"))
	}
	if err := pb.ready(); err != nil {
		return s.wrap("write", err)
	}
	mode := pebble.NoSync
	if sync && !s.ephemeral {
		mode = pebble.Sync
	}
	err := s.fatal.run(func() error {
		if pb.ops == 0 && mode == pebble.Sync {
			// Pebble ignores an empty batch, but earlier writes count on the sync.
			return s.db.LogData(nil, mode)
		}
		return s.db.Apply(pb.b, mode)
	})
	if err != nil {
		// Pebble may hold on to the batch, see fatal: only a fresh one can be used.
		pb.b, pb.err = s.newBatch(), err
		return s.wrap("write", err)
	}
	pb.written = true
	return nil
}

func (s *store) Checkpoint(dir string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	return s.wrap("checkpoint", s.fatal.run(func() error {
		if s.ephemeral {
			// Without a log, what is in memory alone would be left out.
			if err := s.db.Flush(); err != nil {
				return err
			}
		}
		return s.db.Checkpoint(dir, pebble.WithFlushedWAL())
	}))
}

func (s *store) Flush() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	return s.wrap("flush", s.fatal.run(s.db.Flush))
}

func (s *store) Size() (int64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.gate.Leave()
	var n int64
	err := s.fatal.run(func() error {
		n = int64(s.db.Metrics().DiskSpaceUsage())
		return nil
	})
	if err != nil {
		return 0, s.wrap("size", err)
	}
	return n, nil
}

func (s *store) Snapshot() (statebackend.Snapshot, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	n := &snapshot{store: s}
	err := s.fatal.run(func() error {
		n.snap = s.db.NewSnapshot()
		return nil
	})
	if err != nil {
		return nil, s.wrap("snapshot", err)
	}
	s.snapshots.Add(n)
	return n, nil
}

// Close waits for calls in progress, closes snapshots still open, then the
// database. What was not synced is written but not synced.
func (s *store) Close() error {
	if !s.gate.Bar() {
		return statebackend.ErrClosed
	}
	if err := s.fatal.check(); err != nil {
		return s.wrap("close", err)
	}
	s.gate.Shut()
	return s.wrap("close", s.fatal.run(func() error {
		return errors.Join(s.snapshots.Close(), s.db.Close())
	}))
}

// snapshot has a gate of its own: the store's Close shuts each before its own
// work, so a snapshot's reads need not pass the store's.
type snapshot struct {
	store *store
	snap  *pebble.Snapshot

	gate  gate.Gate
	close sync.Once
}

func (n *snapshot) enter() error {
	if !n.gate.Enter() {
		return statebackend.ErrClosed
	}
	if err := n.store.fatal.check(); err != nil {
		n.gate.Leave()
		return n.store.wrap("use", err)
	}
	return nil
}

func (n *snapshot) Get(dst, key []byte) ([]byte, bool, error) {
	if err := n.enter(); err != nil {
		return dst, false, err
	}
	defer n.gate.Leave()
	return n.store.get(n.snap, dst, key)
}

func (n *snapshot) MultiGet(keys [][]byte) ([][]byte, error) {
	if err := n.enter(); err != nil {
		return nil, err
	}
	defer n.gate.Leave()
	return n.store.multiGet(n.snap, keys)
}

func (n *snapshot) Scan(lo, hi []byte, fn func(key, val []byte) bool) error {
	if err := n.enter(); err != nil {
		return err
	}
	defer n.gate.Leave()
	return n.store.scan(n.snap, lo, hi, fn)
}

// Close may be called twice, and by the store at the same time; whoever comes
// second waits for the first.
func (n *snapshot) Close() (err error) {
	n.close.Do(func() {
		n.gate.Shut()
		if n.store.fatal.check() != nil {
			return // pebble's lock may be held by a parked goroutine
		}
		err = n.store.wrap("snapshot", n.store.fatal.run(n.snap.Close))
		n.store.snapshots.Remove(n)
	})
	return err
}
