// Package dirs finds and makes the directories of stores.
package dirs

import (
	"os"
	"path/filepath"
)

// Real is the one absolute spelling of dir, whether it exists or not.
//
// The engines know by the spelling which directories this process holds
// already, and a POSIX file lock does not exclude its own process: through two
// spellings one directory would be opened twice, and destroyed.
func Real(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	// What does not exist yet has no links to resolve, but what is above may.
	exists, rest := dir, ""
	for {
		resolved, err := filepath.EvalSymlinks(exists)
		if err == nil {
			return filepath.Join(resolved, rest), nil
		}
		parent := filepath.Dir(exists)
		if !os.IsNotExist(err) || parent == exists {
			return "", err
		}
		exists, rest = parent, filepath.Join(filepath.Base(exists), rest)
	}
}

// Make makes dir and its parents where they are missing, so that they are
// there after a power cut: a synced log is lost with a directory that was not.
func Make(dir string) error {
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		return err
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := Make(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o777); err != nil && !os.IsExist(err) {
		return err
	}
	f, err := os.Open(parent)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
