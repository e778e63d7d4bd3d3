package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/summerbeam/summerbeam/statebackend"
)

func testLocked(t *testing.T, open statebackend.Opener) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openAt(t, open, dir)
	put(t, s, kv{"a", "1"})
	if _, err := open(dir, statebackend.Options{}); !errors.Is(err, statebackend.ErrLocked) || !strings.Contains(fmt.Sprint(err), dir) {
		t.Errorf("a second Open: %v, want ErrLocked with the directory", err)
	}
	want(t, s, kv{"a", "1"}) // the first is none the worse
	must(t, s.Close())
	want(t, openAt(t, open, dir), kv{"a", "1"})
}

func testLockedByOtherPath(t *testing.T, open statebackend.Opener) {
	tmp := t.TempDir()
	openAt(t, open, filepath.Join(tmp, "store"))
	must(t, os.Symlink(tmp, filepath.Join(tmp, "link")))
	wd, err := os.Getwd()
	must(t, err)
	rel, err := filepath.Rel(wd, filepath.Join(tmp, "store"))
	must(t, err)
	for _, dir := range []string{filepath.Join(tmp, "link", "store"), rel, tmp + "//store/"} {
		if s, err := open(dir, statebackend.Options{}); !errors.Is(err, statebackend.ErrLocked) {
			t.Errorf("Open of the same directory by the name %s: %v, want ErrLocked", dir, err)
			if err == nil {
				s.Close()
			}
		}
	}
}

// testCorrupt damages table files, each in another place, and wants to hear of
// it by the time everything was read.
func testCorrupt(t *testing.T, open statebackend.Opener) {
	damage := func(t *testing.T, change func(t *testing.T, path string)) {
		dir := filepath.Join(t.TempDir(), "store")
		s := openAt(t, open, dir)
		rng := rand.NewChaCha8([32]byte{3})
		val := make([]byte, 100)
		write(t, s, true, func(b statebackend.Batch) {
			for i := range 10_000 {
				rng.Read(val)
				b.Put(fmt.Appendf(nil, "%06d", i), val)
			}
		})
		must(t, s.Flush())
		must(t, s.Close())
		table := largest(t, dir)
		number := strings.TrimSuffix(filepath.Base(table), ".sst")
		change(t, table)

		s, err := open(dir, statebackend.Options{})
		if err == nil {
			defer s.Close()
			err = s.Scan(nil, nil, func(_, _ []byte) bool { return true })
		}
		if !errors.Is(err, statebackend.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), number) {
			t.Errorf("%v\nwant ErrCorrupt and the file's number %s", err, number)
		}
	}
	t.Run("Flipped", func(t *testing.T) {
		damage(t, func(t *testing.T, path string) {
			data, err := os.ReadFile(path)
			must(t, err)
			data[len(data)/2] ^= 0x10
			must(t, os.WriteFile(path, data, 0o666))
		})
	})
	for _, kind := range []string{"MANIFEST", ".log"} {
		t.Run("Flipped"+kind, func(t *testing.T) { testFlipped(t, open, kind) })
	}
	t.Run("Missing", func(t *testing.T) {
		damage(t, func(t *testing.T, path string) { must(t, os.Remove(path)) })
	})
	t.Run("Cut", func(t *testing.T) {
		damage(t, func(t *testing.T, path string) { must(t, os.Truncate(path, 1000)) })
	})
}

// testFlipped flips a bit in the manifest or the log, at several places before the last record, where
// it can't be what a crash has left, and wants to read at once of the file.
func testFlipped(t *testing.T, open statebackend.Opener, kind string) {
	for part := range 3 {
		dir := filepath.Join(t.TempDir(), "store")
		s := openAt(t, open, dir)
		for i := range 50 {
			write(t, s, true, func(b statebackend.Batch) { b.Put(fmt.Appendf(nil, "%06d", i), bytes.Repeat([]byte("value"), 400)) })
			if kind == "MANIFEST" && i < 15 {
				must(t, s.Flush())
			}
		}
		must(t, s.Close())
		name := newest(t, dir, kind)
		data, err := os.ReadFile(name)
		must(t, err)
		at := len(data) * (1 + part) / 5
		data[at] ^= 0x10
		must(t, os.WriteFile(name, data, 0o666))
		s, err = open(dir, statebackend.Options{})
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, statebackend.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), filepath.Base(name)) {
			t.Errorf("a bit of %s at %d of %d: %v\nwant ErrCorrupt and the file's name", filepath.Base(name), at, len(data), err)
		}
	}
}

// newest is the last file of a kind that has something.
func newest(t *testing.T, dir, kind string) (name string) {
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.Contains(e.Name(), kind) && info.Size() > 500 {
			name = filepath.Join(dir, e.Name())
		}
	}
	if name == "" {
		t.Fatalf("no %s in %v", kind, entries)
	}
	return name
}

func largest(t *testing.T, dir string) (path string) {
	var size int64
	must(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(p) != ".sst" {
			return err
		}
		if i, err := e.Info(); err == nil && i.Size() > size {
			path, size = p, i.Size()
		}
		return nil
	}))
	if path == "" {
		t.Fatal("no table file to damage")
	}
	return path
}
