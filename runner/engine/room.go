package engine

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"
)

// A full disk is no reason for a job to fail: who writes to a segment file or puts an element aside
// waits where it is, as the job's store does, until there is room or the job is to end.
//
// Who waits holds no lock and has no place in a file that others could write again. Bundles and
// groupings that run come to their end beside it and give back what they have read; the loop commits
// them and never writes itself; and what is queued is worked off, as when memory is short (diskFull).
// An epoch that waits keeps what only it can let go of. What does stand in the way is a slot: if those
// who wait have all of them, or what is queued makes more than it takes, the job waits for people.

const (
	// roomBytes must be free, besides what is to be written: or the job would go on and wait
	// again with each block.
	roomBytes = 8 << 20
	// lookEvery is the time between two looks at the free space.
	lookEvery = 250 * time.Millisecond
)

// noRoom says that an error is that of a full disk.
func noRoom(err error) bool { return errors.Is(err, syscall.ENOSPC) }

// place is where something is written.
type place struct {
	files fileSystem
	dir   func() string
	// reclaimed, if not nil, counts how often a file there became free that is written again: room
	// that the disk doesn't tell of.
	reclaimed *atomic.Int64
}

// whenRoom calls try, which writes n bytes to a place, until it finds room for them, and returns its
// error. No lock may be held. A nil *diskFull never waits.
func (d *diskFull) whenRoom(at place, n int64, try func() error) error {
	reclaimed := func() int64 {
		if at.reclaimed == nil {
			return 0
		}
		return at.reclaimed.Load()
	}
	before := reclaimed()
	err := try()
	if !noRoom(err) || d == nil {
		return err
	}
	dir := at.dir()
	d.enter(dir)
	defer d.leave(dir)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-d.ending:
			return err
		case <-look.C:
		}
		// Where nobody knows what is free, trying tells.
		now := reclaimed()
		if free, ferr := at.files.Free(dir); ferr == nil && free < roomBytes+n && now == before {
			continue
		}
		before = now
		if err = try(); !noRoom(err) {
			return err
		}
	}
}

func (s *segments) whenRoom(n int64, try func() error) error {
	return s.full.whenRoom(place{s.fs, s.directory, &s.reclaimed}, n, try)
}

// directory is where the files are: empty if that is a temporary directory which isn't made yet.
func (s *segments) directory() string {
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	return s.dir
}
