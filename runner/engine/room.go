package engine

import (
	"errors"
	"syscall"
	"time"
)

// A full disk is no reason for a job to fail: who writes to a segment file waits where it is,
// as the job's store does, until there is room or the job is to end.
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

// whenRoom calls try, which writes n bytes, until it finds room for them, and returns its error.
// No lock may be held.
func (s *segments) whenRoom(n int64, try func() error) error {
	err := try()
	if !noRoom(err) || s.full == nil {
		return err
	}
	dir := s.directory()
	s.full.enter(dir)
	defer s.full.leave(dir)
	for look := time.NewTicker(lookEvery); ; {
		select {
		case <-s.full.ending:
			look.Stop()
			return err
		case <-look.C:
		}
		// Where nobody knows what is free, trying tells.
		if free, ferr := s.fs.Free(dir); ferr == nil && free < roomBytes+n {
			continue
		}
		if err = try(); !noRoom(err) {
			look.Stop()
			return err
		}
	}
}

// directory is where the files are: empty if that is a temporary directory which isn't made yet.
func (s *segments) directory() string {
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	return s.dir
}
