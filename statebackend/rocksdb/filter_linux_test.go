//go:build rocksdb

package rocksdb

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/linxGnu/grocksdb"

	"github.com/summerbeam/summerbeam/statebackend"
)

// TestGetReadsLittle: a Get reads a few blocks and no whole filter of a file, whose keys are so many
// that their filter is larger than what the cache takes.
func TestGetReadsLittle(t *testing.T) {
	dir := t.TempDir()
	open := func() statebackend.Store {
		st, err := Open(dir, statebackend.Options{CacheBytes: 4 << 20, WriteBufferBytes: 64 << 20, Ephemeral: true})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	st := open()
	const keys, gets = 600_000, 500
	key := func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
	b := st.NewBatch()
	defer b.Close()
	for i := range keys {
		b.Put(key(i), []byte("value"))
	}
	if err := st.Write(b, false); err != nil {
		t.Fatal(err)
	}
	if err := st.Flush(); err != nil {
		t.Fatal(err)
	}
	// Filters of the uppermost level stay in memory.
	st.(*store).db.CompactRange(grocksdb.Range{})
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = open()
	defer st.Close()
	read := func() (n int) {
		io, err := os.ReadFile("/proc/self/io")
		if err != nil {
			t.Skip("the kernel doesn't say how much a process has read:", err)
		}
		if _, err := fmt.Sscanf(strings.TrimSpace(string(io)), "rchar: %d", &n); err != nil {
			t.Fatalf("%q: %v", io, err)
		}
		return n
	}
	before := read()
	for i := range gets {
		if _, found, err := st.Get(nil, key(i*(keys/gets))); err != nil || !found {
			t.Fatalf("key %d: found %v, error %v", i, found, err)
		}
	}
	if each := (read() - before) / gets; each > 64<<10 {
		t.Errorf("a Get reads %d bytes", each)
	}
}
