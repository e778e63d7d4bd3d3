package engine

import (
	"errors"
	"syscall"
	"time"
)

// A full disk is no reason for a job to fail: who writes to a segment file or puts an element aside
// waits where it is, as the job's store does, until there is room or the job is to end.
//
// Who waits holds no lock, and nobody's way but its own. What it has taken (its bundle's
// slot and input, a merge's runs) others don't need to make room: bundles and groupings
// that run come to their end beside it, and give back what they have read; the loop commits
// them and never writes itself. An epoch that waits keeps what only it can let go of. So a
// job whose data needs more than the disk has waits for people, and says so.

const (
	// roomBytes must be free, besides what is to be written: or the job would go on and wait
	// again with each block.
	roomBytes = 8 << 20
	// lookEvery is the time between two looks at the free space.
	lookEvery = 250 * time.Millisecond
)

// noRoom says that an error is that of a full disk.
func noRoom(err error) bool { return errors.Is(err, syscall.ENOSPC) }

// whenRoom calls try, which writes n bytes to a directory, until it finds room for them, and returns its
// error. No lock may be held. A nil *diskFull never waits.
func (d *diskFull) whenRoom(files fileSystem, directory func() string, n int64, try func() error) error {
	err := try()
	if !noRoom(err) || d == nil {
		return err
	}
	dir := directory()
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
		if free, ferr := files.Free(dir); ferr == nil && free < roomBytes+n {
			continue
		}
		if err = try(); !noRoom(err) {
			return err
		}
	}
}

func (s *segments) whenRoom(n int64, try func() error) error {
	return s.full.whenRoom(s.fs, s.directory, n, try)
}

// directory is where the files are: empty if that is a temporary directory which isn't made yet.
func (s *segments) directory() string {
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	return s.dir
}
