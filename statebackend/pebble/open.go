// Package pebble keeps state in github.com/cockroachdb/pebble: pure Go, no C
// library, crash-safe. It is the backend of builds without the rocksdb tag.
package pebble

import (
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/internal/dirs"
)

var _ statebackend.Opener = Open

// Open opens or creates the store in dir, as [statebackend.Opener] says.
func Open(dir string, o statebackend.Options) (statebackend.Store, error) {
	real, err := dirs.Real(dir)
	if err != nil {
		return nil, fmt.Errorf("pebble store %s: %w", dir, err)
	}
	return OpenFS(vfs.Default, real, o)
}

// OpenFS is Open on another file system. Tests give one that loses what was not
// synced, or fails.
func OpenFS(fs vfs.FS, dir string, o statebackend.Options) (statebackend.Store, error) {
	s := &store{
		dir:       dir,
		ephemeral: o.Ephemeral,
		fatal:     newFatal(slog.Default().With("store", dir)),
	}
	err := s.fatal.run(func() (err error) {
		if err := checkLogs(fs, dir); err != nil {
			return err
		}
		po := options(fs, o, s.fatal)
		if o.DiskFull != nil {
			if po.FS == nil {
				po.WithFSDefaults()
			}
			po.FS = awaitRoom(po.FS, dir, o.DiskFull)
		}
		s.db, err = pebble.Open(dir, po)
		return err
	})
	if err != nil {
		return nil, s.wrap("open", err)
	}
	return s, nil
}
