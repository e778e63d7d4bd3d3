//go:build rocksdb

package rocksdb

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/summerbeam/summerbeam/statebackend/internal/chunks"
)

// checkLogs looks for damage that RocksDB doesn't see, or doesn't name the file of.
func checkLogs(dir string) error {
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return err
	}
	var names []string
	for _, l := range logs {
		names = append(names, filepath.Base(l))
	}
	current, err := os.ReadFile(filepath.Join(dir, "CURRENT"))
	switch {
	case err == nil:
		names = append(names, strings.TrimSpace(string(current)))
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return chunks.Check(dir, names, func(name string) (io.ReadCloser, error) { return os.Open(name) })
}
