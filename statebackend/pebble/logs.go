package pebble

import (
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/summerbeam/summerbeam/statebackend/internal/chunks"
)

// checkLogs looks for damage that pebble doesn't see, or doesn't name the file of.
func checkLogs(fs vfs.FS, dir string) error {
	d, err := pebble.Peek(dir, fs)
	if err != nil || !d.Exists {
		return nil // Open says what is wrong
	}
	all, err := fs.List(dir)
	if err != nil {
		return nil
	}
	names := []string{fs.PathBase(d.ManifestFilename)}
	for _, name := range all {
		if len(name) > 4 && name[len(name)-4:] == ".log" {
			names = append(names, name)
		}
	}
	return chunks.Check(dir, names, func(name string) (io.ReadCloser, error) { return fs.Open(name) })
}
