package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
)

// letterFile is the file of letters (see letters.go). Safe for concurrent use.
type letterFile struct {
	name  string
	files fileSystem
	// full hears of who waits for room.
	full *diskFull

	fileMu sync.Mutex
	file   file // open once there is something to write
}

// append writes letters behind those that are there, and syncs. It returns the file's length. While
// the disk is full it waits.
func (f *letterFile) append(letters []byte) (size int64, err error) {
	at := place{files: f.files, dir: func() string { return filepath.Dir(f.name) }}
	err = f.full.whenRoom(at, int64(len(letters)), func() error {
		size, err = f.write(letters)
		return err
	})
	return size, err
}

// write is append without waiting. If it fails the file is as it was.
func (f *letterFile) write(letters []byte) (size int64, err error) {
	f.fileMu.Lock()
	defer f.fileMu.Unlock()
	if err := f.open(); err != nil {
		return 0, err
	}
	if size, err = f.file.Size(); err != nil {
		return 0, err
	}
	if _, err = f.file.WriteAt(letters, size); err == nil {
		err = f.file.Sync()
	}
	if err == nil {
		return size + int64(len(letters)), nil
	}
	if cut := f.file.Truncate(size); cut != nil {
		// Half a letter would hide all that come behind it, so this is none to try again.
		return 0, fmt.Errorf("%s: writing: %v; taking back what was written: %w", f.name, err, cut)
	}
	return 0, err
}

// open opens the file, and makes it if it isn't there. fileMu is held.
func (f *letterFile) open() error {
	if f.file != nil {
		return nil
	}
	opened, err := f.files.Open(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = f.files.MakeDir(filepath.Dir(f.name)); err == nil {
			opened, err = f.files.Create(f.name)
		}
	}
	if err == nil {
		f.file = opened
	}
	return err
}

// cut takes off what is behind size.
func (f *letterFile) cut(size int64) error {
	f.fileMu.Lock()
	defer f.fileMu.Unlock()
	there, err := f.files.Open(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	n, err := there.Size()
	if err == nil && n > size {
		err = there.Truncate(size)
	}
	return errors.Join(err, there.Close())
}

func (f *letterFile) close() error {
	f.fileMu.Lock()
	defer f.fileMu.Unlock()
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file = nil
	return file.Close()
}
