//go:build unix

package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockDir takes a data directory for a server: it sweeps the artifacts in it and runs the
// jobs in it, which two can't do at once. The lock goes with the process, however it
// ends.
func lockDir(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "server.lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // it is of no use without the lock
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another server runs on the data directory %s: stop it first, or choose another directory", dir)
		}
		return nil, fmt.Errorf("data directory %s: locking it: %w", dir, err)
	}
	return f.Close, nil
}
