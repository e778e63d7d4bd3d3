package storetest

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/statebackend"
)

// smallDisk is a file system of 24 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill leaves no room on a disk but some kilobytes.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 4<<10; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

func putLarge(st statebackend.Store, i int) error {
	b := st.NewBatch()
	defer b.Close()
	b.Put(fmt.Appendf(nil, "key%03d", i), make([]byte, 64<<10))
	return st.Write(b, true)
}

// FullDisk checks that writes to a full disk wait where they are, and go on when there is room; that
// nothing is lost; and that writes fail if nobody waits.
func FullDisk(t *testing.T, open statebackend.Opener) {
	t.Run("Waits", func(t *testing.T) { testFullDisk(t, open) })
	t.Run("Fails", func(t *testing.T) { testFullDiskThatNobodyWaitsFor(t, open) })
}

func testFullDisk(t *testing.T, open statebackend.Opener) {
	dir := smallDisk(t)
	ballast := filepath.Join(dir, "ballast")
	var full, again atomic.Bool
	st, err := open(filepath.Join(dir, "store"), statebackend.Options{WriteBufferBytes: 1 << 20, DiskFull: func(f bool) bool {
		full.Store(f)
		if !f {
			again.Store(true)
		}
		return true
	}})
	if err != nil {
		t.Fatal(err)
	}
	const n = 40
	written := make(chan error, 1)
	var at atomic.Int64
	go func() {
		for i := range n {
			if i == 10 {
				fill(t, ballast)
			}
			if err := putLarge(st, i); err != nil {
				written <- fmt.Errorf("write %d: %w", i, err)
				return
			}
			at.Store(int64(i))
		}
		written <- nil
	}()
	for deadline := time.Now().Add(time.Minute); !full.Load(); time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-written:
			t.Fatalf("all is written (%v) and the disk was never full", err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the disk is not full")
		}
	}
	if at.Load() >= n-1 {
		t.Error("all was written to a full disk")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if full.Load() || !again.Load() {
		t.Error("the store has not said that it goes on")
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if st, err = open(filepath.Join(dir, "store"), statebackend.Options{}); err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for i := range n {
		if _, found, err := st.Get(nil, fmt.Appendf(nil, "key%03d", i)); err != nil || !found {
			t.Errorf("key %d: found %v, %v", i, found, err)
		}
	}
}

func testFullDiskThatNobodyWaitsFor(t *testing.T, open statebackend.Opener) {
	dir := smallDisk(t)
	st, err := open(filepath.Join(dir, "store"), statebackend.Options{WriteBufferBytes: 1 << 20, DiskFull: func(bool) bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(dir, "ballast"))
	for i := range 100 {
		if err = putLarge(st, i); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("all was written to a full disk")
	}
	// The store's goroutines hold the disk for good; it goes with the process.
	if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
		t.Error(err)
	}
	t.Cleanup(func() { _ = syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m") })
}
