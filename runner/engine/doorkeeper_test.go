package engine

import (
	"fmt"
	"testing"
)

// TestDoorkeeper: a key that came lately is known, most that never came are not, and what came long ago is
// forgotten.
func TestDoorkeeper(t *testing.T) {
	const limit = 1 << 20
	var d doorkeeper
	for i := range 1000 {
		d.again(fmt.Sprint("key", i), limit)
	}
	for i := range 1000 {
		if !d.again(fmt.Sprint("key", i), limit) {
			t.Fatalf("key%d is not known", i)
		}
	}
	known := 0
	for i := range 1000 {
		if d.again(fmt.Sprint("other", i), limit) {
			known++
		}
	}
	if known > 100 {
		t.Errorf("%d of 1000 new keys are taken for others", known)
	}
	for i := range 100_000 {
		d.again(fmt.Sprint("many", i), limit)
	}
	known = 0
	for i := range 1000 {
		if d.again(fmt.Sprint("key", i), limit) {
			known++
		}
	}
	if known > 500 {
		t.Errorf("%d of 1000 keys are known after 100000 others", known)
	}
}

// TestFullCacheOfValues: a cache that is full takes a value when it is read again, and keeps what it
// has when others are only written.
func TestFullCacheOfValues(t *testing.T) {
	s := newValueShard(t, 16<<10)
	defer s.store.close()
	shard := s.stage.shards[0]
	write := func(prefix string, n int) {
		b := s.bundle()
		for i := range n {
			play(t, b, fmt.Sprint(prefix, i), "cX")
		}
		shard.apply(b.staged())
		s.freeze()
		s.write()
		s.thaw()
	}
	cellOf := func(key string) string {
		b := s.bundle()
		play(t, b, key, "g")
		return b.mu.last.cell
	}
	write("first", 1000)
	full := shard.kept.bytes
	if full > shard.kept.limit || full < shard.kept.limit/2 {
		t.Fatalf("%d bytes are remembered, of %d", full, shard.kept.limit)
	}
	before := len(shard.kept.cells)
	kept := make(map[string]bool)
	for k := range shard.kept.cells {
		kept[k] = true
	}
	write("second", 1000)
	if len(shard.kept.cells) != before {
		t.Errorf("%d values are remembered, %d before others were written", len(shard.kept.cells), before)
	}
	for k := range shard.kept.cells {
		if !kept[k] {
			t.Fatalf("%q has put out another, though it was not read", k)
		}
	}
	cell := cellOf("second7")
	if _, ok := shard.kept.cells[cell]; ok {
		t.Error("a value that was read once has put out another")
	}
	cellOf("second7")
	if _, ok := shard.kept.cells[cell]; !ok {
		t.Error("a value that was read twice is not remembered")
	}
	if got := play(t, s.bundle(), "second7", "gcYg"); got != "Y" {
		t.Errorf("read %q", got)
	}
}
