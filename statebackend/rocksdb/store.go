//go:build rocksdb

package rocksdb

import (
	"errors"
	"path/filepath"
	"sync"

	"github.com/linxGnu/grocksdb"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/internal/dirs"
	"github.com/summerbeam/summerbeam/statebackend/internal/gate"
)

// store is a statebackend.Store. Its methods pass the gate before they touch
// anything of C's.
type store struct {
	dir       string
	ephemeral bool

	opts       *grocksdb.Options
	db         *grocksdb.DB
	family     *grocksdb.ColumnFamilyHandle // the only one
	reader     reader
	lazy, sync *grocksdb.WriteOptions

	// diskFull is nil if nobody waits for room.
	diskFull func(bool) (wait bool)
	// room is how many bytes must be free for a write, besides what it has.
	room int64

	gate      gate.Gate
	snapshots gate.Family
}

func (s *store) Get(dst, key []byte) ([]byte, bool, error) {
	if !s.gate.Enter() {
		return dst, false, statebackend.ErrClosed
	}
	defer s.gate.Leave()
	val, found, err := s.reader.get(dst, key)
	return val, found, s.wrap("get", err)
}

func (s *store) MultiGet(keys [][]byte) ([][]byte, error) {
	if !s.gate.Enter() {
		return nil, statebackend.ErrClosed
	}
	defer s.gate.Leave()
	vals, err := s.reader.multiGet(keys)
	return vals, s.wrap("get", err)
}

func (s *store) Scan(lo, hi []byte, fn func(key, val []byte) bool) error {
	if !s.gate.Enter() {
		return statebackend.ErrClosed
	}
	defer s.gate.Leave()
	return s.wrap("scan", s.reader.scan(lo, hi, fn))
}

func (s *store) Write(b statebackend.Batch, sync bool) error {
	if !s.gate.Enter() {
		return statebackend.ErrClosed
	}
	defer s.gate.Leave()
	rb, ok := b.(*batch)
	if !ok || rb.store != s {
		return s.wrap("write", errors.New("the batch was made by another store"))
	}
	if err := rb.ready(); err != nil {
		return s.wrap("write", err)
	}
	if err := s.awaitRoom(int64(rb.Bytes())); err != nil {
		return s.wrap("write", err)
	}
	if err := s.write(rb, sync); err != nil {
		return s.wrap("write", err)
	}
	rb.written = true
	return nil
}

func (s *store) write(b *batch, sync bool) error {
	if b.ops == 0 {
		if sync && !s.ephemeral {
			return s.db.FlushWAL(true)
		}
		return nil
	}
	mode := s.lazy
	if sync {
		mode = s.sync
	}
	wb := grocksdb.WriteBatchFrom(b.finish())
	defer wb.Destroy()
	return s.db.Write(mode, wb)
}

// Checkpoint writes out the memory tables, so that the copy has no log to
// replay, and links the files.
func (s *store) Checkpoint(dir string) error {
	if !s.gate.Enter() {
		return statebackend.ErrClosed
	}
	defer s.gate.Leave()
	if err := dirs.Make(filepath.Dir(filepath.Clean(dir))); err != nil {
		return s.wrap("checkpoint", err)
	}
	c, err := s.db.NewCheckpoint()
	if err != nil {
		return s.wrap("checkpoint", err)
	}
	defer c.Destroy()
	return s.wrap("checkpoint", c.CreateCheckpoint(dir, 0))
}

func (s *store) Flush() error {
	if !s.gate.Enter() {
		return statebackend.ErrClosed
	}
	defer s.gate.Leave()
	o := grocksdb.NewDefaultFlushOptions() // waits
	defer o.Destroy()
	return s.wrap("flush", s.db.Flush(o))
}

func (s *store) Size() (int64, error) {
	if !s.gate.Enter() {
		return 0, statebackend.ErrClosed
	}
	defer s.gate.Leave()
	var sum uint64
	// The log is about as large as the memory tables.
	for _, p := range []string{"rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables"} {
		n, ok := s.db.GetIntProperty(p)
		if !ok {
			return 0, s.wrap("size", errors.New("no property "+p))
		}
		sum += n
	}
	return int64(sum), nil
}

func (s *store) Snapshot() (statebackend.Snapshot, error) {
	if !s.gate.Enter() {
		return nil, statebackend.ErrClosed
	}
	defer s.gate.Leave()
	n := &snapshot{store: s, reader: s.reader.snapshot()}
	s.snapshots.Add(n)
	return n, nil
}

// Close waits for calls in progress, closes snapshots still open, then the
// database. What was not synced is written but not synced.
func (s *store) Close() error {
	if !s.gate.Shut() {
		return statebackend.ErrClosed
	}
	s.snapshots.Close()
	s.reader.close()
	s.family.Destroy()
	s.db.Close()
	s.lazy.Destroy()
	s.sync.Destroy()
	s.opts.Destroy()
	return nil
}

// snapshot has a gate of its own: the store's Close shuts each before its own
// work, so a snapshot's reads need not pass the store's.
type snapshot struct {
	store  *store
	reader reader

	gate  gate.Gate
	close sync.Once
}

func (n *snapshot) Get(dst, key []byte) ([]byte, bool, error) {
	if !n.gate.Enter() {
		return dst, false, statebackend.ErrClosed
	}
	defer n.gate.Leave()
	val, found, err := n.reader.get(dst, key)
	return val, found, n.store.wrap("get", err)
}

func (n *snapshot) MultiGet(keys [][]byte) ([][]byte, error) {
	if !n.gate.Enter() {
		return nil, statebackend.ErrClosed
	}
	defer n.gate.Leave()
	vals, err := n.reader.multiGet(keys)
	return vals, n.store.wrap("get", err)
}

func (n *snapshot) Scan(lo, hi []byte, fn func(key, val []byte) bool) error {
	if !n.gate.Enter() {
		return statebackend.ErrClosed
	}
	defer n.gate.Leave()
	return n.store.wrap("scan", n.reader.scan(lo, hi, fn))
}

// Close may be called twice, and by the store at the same time; whoever comes
// second waits for the first.
func (n *snapshot) Close() error {
	n.close.Do(func() {
		n.gate.Shut()
		n.reader.close()
		n.store.snapshots.Remove(n)
	})
	return nil
}
