package chunks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/summerbeam/summerbeam/statebackend"
)

// Check looks for damage in the logs and manifests among names, the files of a directory that open opens.
// Its error is ErrCorrupt, and names the file. A file that is not there any more is none of its business.
func Check(dir string, names []string, open func(name string) (io.ReadCloser, error)) error {
	for _, name := range names {
		base, log := strings.CutSuffix(name, ".log")
		number, err := strconv.ParseUint(base, 10, 32)
		if manifest := strings.HasPrefix(name, "MANIFEST-"); !manifest && (!log || err != nil) {
			continue
		}
		path := filepath.Join(dir, name)
		data, err := read(path, open)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return fmt.Errorf("file %s: %w", path, err)
		}
		if at, damaged := Damage(data, uint32(number)); damaged {
			return fmt.Errorf("%w: file %s is damaged at byte %d: what comes behind is whole", statebackend.ErrCorrupt, path, at)
		}
	}
	return nil
}

func read(path string, open func(name string) (io.ReadCloser, error)) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
