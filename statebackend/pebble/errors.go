package pebble

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"github.com/summerbeam/summerbeam/statebackend"
)

// wrap names the store, and sorts pebble's errors into the contract's.
func (s *store) wrap(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case pebble.IsCorruptionError(err):
		// The information is missing when it was not a table that was corrupt;
		// the text then names the file.
		if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
			return fmt.Errorf("pebble store %s: %s: %w: file %s: %w", s.dir, op, statebackend.ErrCorrupt, info.Path, err)
		}
		return fmt.Errorf("pebble store %s: %s: %w: %w", s.dir, op, statebackend.ErrCorrupt, err)
	case op == "open" && isDamaged(err):
		return fmt.Errorf("pebble store %s: %s: %w: %w", s.dir, op, statebackend.ErrCorrupt, err)
	case op == "open" && isLocked(err):
		return fmt.Errorf("pebble store %s: %w", s.dir, statebackend.ErrLocked)
	}
	return fmt.Errorf("pebble store %s: %s: %w", s.dir, op, err)
}

// isLocked tells a held lock from a lock file that can't be made. Other
// processes' locks show as EAGAIN, this process's own as a text of pebble's.
func isLocked(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "lock held by current process")
}

// isDamaged finds what Open's look at the directory complains about, which
// pebble does not mark as corruption: tables missing or of another size than the
// manifest says. The text has the file's number.
func isDamaged(err error) bool {
	text := err.Error()
	return strings.Contains(text, "object size mismatch") || strings.Contains(text, "unknown to the objstorage provider")
}
