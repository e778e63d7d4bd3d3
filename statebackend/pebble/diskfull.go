package pebble

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A full disk is no reason for a store to fail: pebble's file system stops all writes
// where they are, and tries again when there is room. Without it the first write of the
// log that finds no room ends the store (see fatal).

// room is how many bytes must be free for writes to go on: as many as what is to be
// written at once may need, since pebble tries again only once.
const room = 8 << 20

// lookEvery is the time between two looks at the free space.
const lookEvery = 250 * time.Millisecond

// awaitRoom makes writes of fs wait while the disk of dir is full, as long as full says so.
func awaitRoom(fs vfs.FS, dir string, full func(bool) (wait bool)) vfs.FS {
	return vfs.OnDiskFull(fs, func() {
		for full(true) {
			if u, err := fs.GetDiskUsage(dir); err != nil || u.AvailBytes >= room {
				break
			}
			time.Sleep(lookEvery)
		}
		full(false)
	})
}
