package storetest

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/summerbeam/summerbeam/statebackend"
)

func testSnapshot(t *testing.T, open statebackend.Opener) {
	s := fresh(t, open)
	put(t, s, kv{"a", "1"}, kv{"b", "2"})
	old, err := s.Snapshot()
	must(t, err)
	write(t, s, false, func(b statebackend.Batch) {
		b.Put([]byte("a"), []byte("new"))
		b.DeleteRange([]byte("b"), []byte("c"))
		b.Put([]byte("c"), nil)
	})
	cur, err := s.Snapshot()
	must(t, err)
	must(t, s.Flush())
	put(t, s, kv{"d", ""})

	want(t, old, kv{"a", "1"}, kv{"b", "2"})
	wantGet(t, old, "a", "1", true)
	wantGet(t, old, "c", "", false)
	vals, err := old.MultiGet([][]byte{[]byte("b"), []byte("c")})
	if err != nil || string(vals[0]) != "2" || vals[1] != nil {
		t.Errorf("MultiGet of a snapshot = %q, %v", vals, err)
	}
	want(t, cur, kv{"a", "new"}, kv{"c", ""})
	must(t, old.Close())
	must(t, old.Close())
	want(t, cur, kv{"a", "new"}, kv{"c", ""})
	must(t, cur.Close())
	want(t, s, kv{"a", "new"}, kv{"c", ""}, kv{"d", ""})
	checkClosedReader(t, cur)
}

func testReopen(t *testing.T, open statebackend.Opener) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openAt(t, open, dir)
	put(t, s, kv{"a", "unsynced"})
	must(t, s.Flush())
	write(t, s, true, func(b statebackend.Batch) { b.Put([]byte("b"), nil); b.Put([]byte("gone"), nil) })
	must(t, s.Close())

	s = openAt(t, open, dir)
	want(t, s, kv{"a", "unsynced"}, kv{"b", ""}, kv{"gone", ""})
	write(t, s, true, func(b statebackend.Batch) { b.DeleteRange([]byte("g"), []byte("h")) })
	must(t, s.Close())

	s = openAt(t, open, dir)
	want(t, s, kv{"a", "unsynced"}, kv{"b", ""})
}

func testCheckpoint(t *testing.T, open statebackend.Opener) {
	tmp := t.TempDir()
	s := openAt(t, open, filepath.Join(tmp, "store"))
	put(t, s, kv{"a", "file"})
	must(t, s.Flush())
	put(t, s, kv{"b", "log"})
	copyDir := filepath.Join(tmp, "points", "one")
	must(t, s.Checkpoint(copyDir))
	if err := s.Checkpoint(copyDir); err == nil {
		t.Error("a checkpoint into a directory that exists succeeded")
	}
	put(t, s, kv{"a", "later"}, kv{"c", "later"})
	must(t, s.Flush())

	c := openAt(t, open, copyDir)
	want(t, c, kv{"a", "file"}, kv{"b", "log"})
	put(t, c, kv{"a", "in the copy"})
	must(t, c.Flush())
	want(t, s, kv{"a", "later"}, kv{"b", "log"}, kv{"c", "later"})
	must(t, c.Close())
	must(t, s.Close())
	want(t, openAt(t, open, copyDir), kv{"a", "in the copy"}, kv{"b", "log"})
	want(t, openAt(t, open, filepath.Join(tmp, "store")), kv{"a", "later"}, kv{"b", "log"}, kv{"c", "later"})
}

func testCheckpointOfEphemeral(t *testing.T, open statebackend.Opener) {
	tmp := t.TempDir()
	s, err := open(filepath.Join(tmp, "store"), statebackend.Options{Ephemeral: true})
	must(t, err)
	defer s.Close()
	put(t, s, kv{"a", "1"})
	must(t, s.Checkpoint(filepath.Join(tmp, "copy")))
	want(t, openAt(t, open, filepath.Join(tmp, "copy")), kv{"a", "1"})
}

// testConcurrent is for the race detector: everything at once.
func testConcurrent(t *testing.T, open statebackend.Opener) {
	tmp := t.TempDir()
	s := openAt(t, open, filepath.Join(tmp, "store"))
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			b := s.NewBatch()
			defer b.Close()
			for i := range 300 {
				b.Reset()
				b.Put(fmt.Appendf(nil, "%d/%03d", w, i), fmt.Append(nil, i))
				b.DeleteRange(fmt.Appendf(nil, "%d/%03d", w, i-20), fmt.Appendf(nil, "%d/%03d", w, i-10))
				if err := s.Write(b, i%50 == 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for r := range 3 {
		wg.Go(func() {
			var dst []byte
			for i := range 300 {
				var err error
				key := fmt.Appendf(nil, "%d/%03d", r, i)
				if dst, _, err = s.Get(dst[:0], key); err != nil {
					t.Error(err)
				}
				if _, err = s.MultiGet([][]byte{key, nil, key}); err != nil {
					t.Error(err)
				}
				if i%10 != 0 {
					continue
				}
				n, err := s.Snapshot()
				if err != nil {
					t.Error(err)
					return
				}
				a, b := scan(t, n, nil, nil), scan(t, n, nil, nil)
				if len(a) != len(b) {
					t.Errorf("one snapshot gave %d and %d entries", len(a), len(b))
				}
				n.Close()
			}
		})
	}
	wg.Go(func() {
		for i := range 5 {
			if err := s.Flush(); err != nil {
				t.Error(err)
			}
			if _, err := s.Size(); err != nil {
				t.Error(err)
			}
			if err := s.Checkpoint(filepath.Join(tmp, fmt.Sprint("copy", i))); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}
