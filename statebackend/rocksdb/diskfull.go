//go:build rocksdb

package rocksdb

import (
	"syscall"
	"time"
)

// A full disk is no reason for a store to fail: writes wait until there is room.
//
// RocksDB can't be let to meet the end of the disk: when a write of its log has failed, the next
// one fails too or, in a library with asserts, ends the process. So a write begins only if there is
// much room, for what runs in the background besides. A flush or compaction that
// finds none is tried again by RocksDB itself. A write that meets the end all the same, because others have
// taken the room, fails, and the job with it; its state is kept.

// room is how many bytes must be free for a write, besides what it has: for memory tables that
// are flushed and tables that are merged meanwhile.
const room = 128 << 20

// lookEvery is the time between two looks at the free space.
const lookEvery = 250 * time.Millisecond

// awaitRoom waits until there is room for a write of n bytes, which take as much again in a table.
func (s *store) awaitRoom(n int64) error {
	if s.diskFull == nil {
		return nil
	}
	for waited := false; ; waited = true {
		var fs syscall.Statfs_t
		// If that fails the write will say what is wrong.
		if err := syscall.Statfs(s.dir, &fs); err != nil || int64(fs.Bavail)*fs.Bsize >= s.room+2*n {
			if waited {
				s.diskFull(false)
			}
			return nil
		}
		if !s.diskFull(true) {
			return syscall.ENOSPC
		}
		time.Sleep(lookEvery)
	}
}
