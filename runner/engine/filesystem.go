package engine

import (
	"errors"
	"io"
	"os"
)

// fileSystem is what segment files and dead letters need of one. Tests have one that breaks.
type fileSystem interface {
	// MakeDir makes a directory and those above it; TempDir makes one of its own.
	MakeDir(dir string) error
	TempDir() (string, error)
	// Create makes a file that is not there yet, Open opens one again.
	Create(path string) (file, error)
	Open(path string) (file, error)
	Remove(path string) error
	RemoveAll(dir string) error
	// ReadDir returns the names of what is in a directory. SyncDir makes them durable.
	ReadDir(dir string) ([]string, error)
	SyncDir(dir string) error
	// Free returns how many bytes may be written below a directory, or an error if nobody knows.
	Free(dir string) (int64, error)
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	// Size is the file's length, Truncate cuts it off.
	Size() (int64, error)
	Truncate(size int64) error
}

// osFiles is the operating system's file system.
type osFiles struct{}

func (osFiles) MakeDir(dir string) error { return os.MkdirAll(dir, 0o700) }

func (osFiles) TempDir() (string, error) { return os.MkdirTemp("", "summerbeam-spill-") }

func (osFiles) Create(path string) (file, error) {
	return opened(os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600))
}

func (osFiles) Open(path string) (file, error) { return opened(os.OpenFile(path, os.O_RDWR, 0)) }

func opened(f *os.File, err error) (file, error) {
	if err != nil {
		return nil, err // and not a file of nothing
	}
	return osFile{f}, nil
}

// osFile is a file of the operating system's.
type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (osFiles) Remove(path string) error { return os.Remove(path) }

func (osFiles) RemoveAll(dir string) error { return os.RemoveAll(dir) }

func (osFiles) ReadDir(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	return names, errors.Join(err, d.Close())
}

func (osFiles) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
