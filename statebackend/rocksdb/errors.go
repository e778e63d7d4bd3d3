//go:build rocksdb

package rocksdb

import (
	"fmt"
	"strings"

	"github.com/summerbeam/summerbeam/statebackend"
)

// wrap names the store, and sorts RocksDB's errors, which are text, into the
// contract's. A text of corruption has the file's name.
func (s *store) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	switch text := err.Error(); {
	case strings.HasPrefix(text, "Corruption:"):
		return fmt.Errorf("rocksdb store %s: %s: %w: %w", s.dir, op, statebackend.ErrCorrupt, err)
	case op == "open" && (strings.Contains(text, "lock hold by current process") || strings.Contains(text, "While lock file")):
		return fmt.Errorf("rocksdb store %s: %w", s.dir, statebackend.ErrLocked)
	}
	return fmt.Errorf("rocksdb store %s: %s: %w", s.dir, op, err)
}
