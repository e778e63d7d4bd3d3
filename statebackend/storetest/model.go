package storetest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/summerbeam/summerbeam/statebackend"
)

// testModel does random things to a store and to a map, and compares. Keys are
// short and of few letters, so that ranges, prefixes and overwrites meet.
func testModel(t *testing.T, open statebackend.Opener, durable bool) {
	root := memoryDir(t)
	rapid.Check(t, func(t *rapid.T) {
		tmp, err := os.MkdirTemp(root, "")
		check(t, err)
		m := &machine{open: open, dir: filepath.Join(tmp, "store"), model: map[string]string{}}
		m.reopen(t)
		defer func() {
			m.store.Close()
			os.RemoveAll(tmp)
		}()
		actions := map[string]func(*rapid.T){
			"batch":      m.batch,
			"read":       func(t *rapid.T) { m.compare(t, m.store, m.model) },
			"flush":      func(t *rapid.T) { check(t, m.store.Flush()) },
			"snapshot":   m.snapshot,
			"unsnapshot": m.unsnapshot,
			"":           func(t *rapid.T) { m.compareAll(t) },
		}
		if durable {
			actions["reopen"] = m.reopen
			actions["checkpoint"] = m.checkpoint
		}
		t.Repeat(actions)
	})
}

// memoryDir is a directory without a disk below it where there is one: what is
// tested in it is not what a sync does, and thousands of syncs take a minute.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "storetest")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func check(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

type view struct {
	snap  statebackend.Snapshot
	model map[string]string
}

type machine struct {
	open  statebackend.Opener
	dir   string
	store statebackend.Store
	model map[string]string
	views []view
	made  int // directories so far
	b     statebackend.Batch
}

var (
	keys   = keysFrom(1)
	bounds = keysFrom(0) // unlike a key, a bound may be empty
)

func keysFrom(min int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 'b', 0xff}), min, 4).Draw(t, "key"))
	})
}

func (m *machine) batch(t *rapid.T) {
	if m.b == nil {
		m.b = m.store.NewBatch()
	}
	m.b.Reset()
	n := rapid.IntRange(0, 12).Draw(t, "operations")
	for range n {
		key := keys.Draw(t, "key")
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			m.b.Delete([]byte(key))
			delete(m.model, key)
		case 1:
			lo, hi := bounds.Draw(t, "lo"), bounds.Draw(t, "hi")
			m.b.DeleteRange([]byte(lo), []byte(hi))
			maps.DeleteFunc(m.model, func(k, _ string) bool { return k >= lo && k < hi })
		default:
			val := rapid.StringN(0, 40, 400).Draw(t, "val")
			m.b.Put([]byte(key), []byte(val))
			m.model[key] = val
		}
	}
	check(t, m.store.Write(m.b, rapid.Bool().Draw(t, "sync")))
}

func (m *machine) snapshot(t *rapid.T) {
	s, err := m.store.Snapshot()
	check(t, err)
	m.views = append(m.views, view{s, maps.Clone(m.model)})
}

func (m *machine) unsnapshot(t *rapid.T) {
	if len(m.views) == 0 {
		t.Skip("no snapshot")
	}
	i := rapid.IntRange(0, len(m.views)-1).Draw(t, "which")
	check(t, m.views[i].snap.Close())
	m.views = slices.Delete(m.views, i, i+1)
}

func (m *machine) reopen(t *rapid.T) {
	if m.store != nil {
		check(t, m.store.Close()) // with snapshots and a batch open, it may be
	}
	m.views, m.b = nil, nil
	var err error
	m.store, err = m.open(m.dir, statebackend.Options{WriteBufferBytes: 1 << 20})
	check(t, err)
}

func (m *machine) checkpoint(t *rapid.T) {
	m.made++
	dir := fmt.Sprint(m.dir, m.made)
	check(t, m.store.Checkpoint(dir))
	c, err := m.open(dir, statebackend.Options{})
	check(t, err)
	m.compare(t, c, m.model)
	check(t, c.Close())
}

func (m *machine) compareAll(t *rapid.T) {
	m.compare(t, m.store, m.model)
	for _, v := range m.views {
		m.compare(t, v.snap, v.model)
	}
}

func (m *machine) compare(t *rapid.T, r statebackend.Reader, model map[string]string) {
	sorted := slices.Sorted(maps.Keys(model))
	lo, hi := []byte(bounds.Draw(t, "lo")), []byte(bounds.Draw(t, "hi"))
	if rapid.Bool().Draw(t, "no bounds") {
		lo, hi = nil, nil
	}
	var got []string
	check(t, r.Scan(lo, hi, func(key, val []byte) bool {
		if v, ok := model[string(key)]; !ok || v != string(val) {
			t.Fatalf("scan gives %q = %q, want %q (present: %v)", key, val, v, ok)
		}
		got = append(got, string(key))
		return true
	}))
	in := slices.DeleteFunc(slices.Clone(sorted), func(k string) bool {
		return k < string(lo) || hi != nil && k >= string(hi)
	})
	if !slices.Equal(got, in) {
		t.Fatalf("Scan(%q, %q) gives keys %q, want %q", lo, hi, got, in)
	}
	// Those that are there, and one that may be.
	asked := append(sorted, bounds.Draw(t, "asked"))
	raw := make([][]byte, len(asked))
	for i, k := range asked {
		raw[i] = []byte(k)
		got, found, err := r.Get(nil, raw[i])
		check(t, err)
		if v, ok := model[k]; ok != found || v != string(got) {
			t.Fatalf("Get(%q) = %q, %v; want %q, %v", k, got, found, v, ok)
		}
	}
	vals, err := r.MultiGet(raw)
	check(t, err)
	for i, k := range asked {
		if v, ok := model[k]; ok != (vals[i] != nil) || v != string(vals[i]) {
			t.Fatalf("MultiGet gives %q = %q, want %q", k, vals[i], v)
		}
	}
}
