// Package storetest checks that a state store keeps the contract of package
// statebackend: one suite, one crash test and one set of benchmarks for all.
package storetest

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"github.com/summerbeam/summerbeam/statebackend"
)

// Trait says what a backend is not, so that the tests it can't pass are left out
// for a stated reason.
type Trait int

const (
	// NoFiles is a backend whose directories are not directories of the
	// operating system: no test damages its files or opens them by another path.
	NoFiles Trait = iota + 1
	// MemoryOnly is a backend whose content is gone once it is closed, and
	// which knows no directories.
	MemoryOnly
)

// Run runs the suite. Each test opens stores of its own.
func Run(t *testing.T, open statebackend.Opener, traits ...Trait) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, statebackend.Opener)
		not  []Trait
	}{
		{"PutGet", testPutGet, nil},
		{"MultiGet", testMultiGet, nil},
		{"MultiGetInOrder", testMultiGetInOrder, nil},
		{"Scan", testScan, nil},
		{"ScanMany", testScanMany, nil},
		{"DeleteRange", testDeleteRange, nil},
		{"Batch", testBatch, nil},
		{"BatchMisuse", testBatchMisuse, nil},
		{"BatchIsAtomic", testBatchIsAtomic, nil},
		{"Snapshot", testSnapshot, nil},
		{"LargeValues", testLargeValues, nil},
		{"SizeAndFlush", testSizeAndFlush, nil},
		{"Ephemeral", testEphemeral, nil},
		{"Concurrent", testConcurrent, nil},
		{"Closed", testClosed, nil},
		{"CloseWithReaders", testCloseWithReaders, nil},
		{"CloseInsideScan", testCloseInsideScan, nil},
		{"Reopen", testReopen, []Trait{MemoryOnly}},
		{"Checkpoint", testCheckpoint, []Trait{MemoryOnly}},
		{"CheckpointOfEphemeral", testCheckpointOfEphemeral, []Trait{MemoryOnly}},
		{"Locked", testLocked, []Trait{MemoryOnly}},
		{"LockedByOtherPath", testLockedByOtherPath, []Trait{MemoryOnly, NoFiles}},
		{"Corrupt", testCorrupt, []Trait{MemoryOnly, NoFiles}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, trait := range test.not {
				if slices.Contains(traits, trait) {
					t.Skip("this backend has no files, or keeps nothing")
				}
			}
			test.run(t, open)
		})
	}
	t.Run("Model", func(t *testing.T) { testModel(t, open, !slices.Contains(traits, MemoryOnly)) })
}

// kv is one entry, as tests write them down.
type kv struct{ key, val string }

func fresh(t testing.TB, open statebackend.Opener) statebackend.Store {
	t.Helper()
	return openAt(t, open, filepath.Join(t.TempDir(), "store"))
}

func openAt(t testing.TB, open statebackend.Opener, dir string) statebackend.Store {
	t.Helper()
	s, err := open(dir, statebackend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// A test may close it first: then this is ErrClosed.
	t.Cleanup(func() { s.Close() })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write applies fn's changes as one batch.
func write(t testing.TB, s statebackend.Store, sync bool, fn func(b statebackend.Batch)) {
	t.Helper()
	b := s.NewBatch()
	fn(b)
	must(t, s.Write(b, sync))
	must(t, b.Close())
}

func put(t testing.TB, s statebackend.Store, entries ...kv) {
	t.Helper()
	write(t, s, false, func(b statebackend.Batch) {
		for _, e := range entries {
			b.Put([]byte(e.key), []byte(e.val))
		}
	})
}

func scan(t testing.TB, r statebackend.Reader, lo, hi []byte) []kv {
	t.Helper()
	var got []kv
	must(t, r.Scan(lo, hi, func(key, val []byte) bool {
		got = append(got, kv{string(key), string(val)})
		return true
	}))
	return got
}

// want compares the whole content.
func want(t testing.TB, r statebackend.Reader, entries ...kv) {
	t.Helper()
	if got := scan(t, r, nil, nil); !slices.Equal(got, entries) {
		t.Fatalf("content is %q, want %q", got, entries)
	}
}

func wantGet(t testing.TB, r statebackend.Reader, key string, val string, found bool) {
	t.Helper()
	got, ok, err := r.Get([]byte("dst"), []byte(key))
	must(t, err)
	if ok != found || !bytes.Equal(got, append([]byte("dst"), val...)) {
		t.Fatalf("Get(%q) = %q, %v; want %q, %v", key, got, ok, "dst"+val, found)
	}
}
