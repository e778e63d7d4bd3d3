package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/summerbeam/summerbeam/statebackend"
)

func testPutGet(t *testing.T, open statebackend.Opener) {
	s := fresh(t, open)
	wantGet(t, s, "a", "", false)
	put(t, s, kv{"a", "1"}, kv{"b", ""}, kv{"\x00", "zero"}, kv{"\xff\xff", "high"})
	wantGet(t, s, "a", "1", true)
	wantGet(t, s, "b", "", true)
	wantGet(t, s, "", "", false)
	wantGet(t, s, "c", "", false)
	want(t, s, kv{"\x00", "zero"}, kv{"a", "1"}, kv{"b", ""}, kv{"\xff\xff", "high"})

	put(t, s, kv{"a", "2"})
	wantGet(t, s, "a", "2", true)
	write(t, s, true, func(b statebackend.Batch) {
		b.Delete([]byte("a"))
		b.Delete([]byte("never there"))
		b.Delete(nil)
	})
	wantGet(t, s, "a", "", false)

	// Nothing below a batch's arguments belongs to the store.
	key, val := []byte("mine"), []byte("value")
	b := s.NewBatch()
	b.Put(key, val)
	key[0], val[0] = 'x', 'x'
	must(t, s.Write(b, false))
	key[1], val[1] = 'x', 'x'
	must(t, b.Close())
	wantGet(t, s, "mine", "value", true)

	// Nor does what Get gives.
	got, _, err := s.Get(nil, []byte("mine"))
	must(t, err)
	got[0] = 'x'
	wantGet(t, s, "mine", "value", true)
}

func testMultiGet(t *testing.T, open statebackend.Opener) {
	s := fresh(t, open)
	put(t, s, kv{"a", "1"}, kv{"b", ""}, kv{"c", "3"})
	big := bytes.Repeat([]byte("x"), 100_000)
	write(t, s, false, func(b statebackend.Batch) { b.Put([]byte("big"), big) })
	vals, err := s.MultiGet([][]byte{[]byte("c"), []byte("none"), []byte("b"), []byte("big"), []byte("a"), []byte("c"), nil})
	must(t, err)
	wantVals := [][]byte{[]byte("3"), nil, {}, big, []byte("1"), []byte("3"), nil}
	if len(vals) != len(wantVals) {
		t.Fatalf("%d values, want %d", len(vals), len(wantVals))
	}
	for i, v := range vals {
		if !bytes.Equal(v, wantVals[i]) || (v == nil) != (wantVals[i] == nil) {
			t.Errorf("value %d is %.20q (nil: %v), want %.20q", i, v, v == nil, wantVals[i])
		}
	}
	if vals, err := s.MultiGet(nil); err != nil || len(vals) != 0 {
		t.Errorf("MultiGet of nothing = %q, %v", vals, err)
	}
}

// testMultiGetInOrder reads keys that lie close together, some of which aren't there, from files and the
// memory table.
func testMultiGetInOrder(t *testing.T, open statebackend.Opener) {
	s := fresh(t, open)
	const n = 3000
	key := func(i int) []byte { return fmt.Appendf(nil, "key%05d", i) }
	want := make(map[string]string)
	for round := range 4 {
		write(t, s, false, func(b statebackend.Batch) {
			for i := 0; i < n; i += 2 + round {
				val := fmt.Sprintf("%d in round %d", i, round)
				if i%100 == 0 {
					val = strings.Repeat(val, 10_000)
				}
				b.Put(key(i), []byte(val))
				want[string(key(i))] = val
			}
			b.Put(key(n/2), nil)
			want[string(key(n/2))] = ""
			b.Delete(key(round * 12))
			delete(want, string(key(round*12)))
		})
		if round < 3 {
			must(t, s.Flush())
		}
	}
	snap, err := s.Snapshot()
	must(t, err)
	defer snap.Close()
	for _, step := range []int{1, 2, 7, 100} {
		var keys [][]byte
		for i := 0; i < n+20; i += step {
			keys = append(keys, key(i))
		}
		keys = append(keys, keys[len(keys)-1]) // twice the same
		for _, r := range []statebackend.Reader{s, snap} {
			vals, err := r.MultiGet(keys)
			must(t, err)
			for i, k := range keys {
				val, ok := want[string(k)]
				if string(vals[i]) != val || (vals[i] != nil) != ok {
					t.Fatalf("every %d: %s is %.20q (nil: %v), want %.20q", step, k, vals[i], vals[i] == nil, val)
				}
			}
		}
	}
}

func testScan(t *testing.T, open statebackend.Opener) {
	s := fresh(t, open)
	put(t, s, kv{"a", "1"}, kv{"b", "2"}, kv{"ba", ""}, kv{"c", "4"}, kv{"\xff\xff\xff", "5"})
	all := []kv{{"a", "1"}, {"b", "2"}, {"ba", ""}, {"c", "4"}, {"\xff\xff\xff", "5"}}
	for _, c := range []struct {
		lo, hi []byte
		want   []kv
	}{
		{nil, nil, all},
		{[]byte{}, nil, all},
		{[]byte("b"), nil, all[1:]},
		{[]byte("aa"), []byte("c"), all[1:3]},
		{[]byte("b"), []byte("ba"), all[1:2]},
		{nil, []byte("a"), nil},
		{[]byte("b"), []byte("b"), nil},
		{[]byte("c"), []byte("a"), nil},
		{nil, []byte{}, nil}, // empty is not nil: nothing is below it
		{[]byte("\xff\xff\xff\xff"), nil, nil},
	} {
		if got := scan(t, s, c.lo, c.hi); !slices.Equal(got, c.want) {
			t.Errorf("Scan(%q, %q) = %q, want %q", c.lo, c.hi, got, c.want)
		}
	}
	for stop := 1; stop <= len(all); stop++ {
		calls := 0
		must(t, s.Scan(nil, nil, func(_, _ []byte) bool { calls++; return calls < stop }))
		if calls != stop {
			t.Errorf("a scan that was stopped at call %d made %d", stop, calls)
		}
	}
	// A scan sees the store as it was when it began, whatever fn writes.
	calls := 0
	must(t, s.Scan(nil, nil, func(key, _ []byte) bool {
		calls++
		put(t, s, kv{string(key) + "+", ""})
		return true
	}))
	if calls != len(all) {
		t.Errorf("a scan whose function writes made %d calls, want %d", calls, len(all))
	}
}

// testScanMany has enough entries of all sizes to need every buffer a backend has.
func testScanMany(t *testing.T, open statebackend.Opener) {
	s := fresh(t, open)
	rng := rand.New(rand.NewPCG(1, 2))
	var entries []kv
	for i := range 20_000 {
		n := rng.IntN(40)
		switch {
		case i%1000 == 7:
			n = 10_000 + rng.IntN(200_000)
		case i%100 == 3:
			n = rng.IntN(5_000)
		}
		entries = append(entries, kv{fmt.Sprintf("%06d%s", i, bytes.Repeat([]byte("k"), rng.IntN(30))), string(bytes.Repeat([]byte{byte(i)}, n))})
	}
	for i := 0; i < len(entries); i += 1000 {
		put(t, s, entries[i:i+1000]...)
		if i == 10_000 {
			must(t, s.Flush())
		}
	}
	if got := scan(t, s, nil, nil); !slices.Equal(got, entries) {
		t.Fatalf("a long scan gave %d entries, not what was put", len(got))
	}
	if got := scan(t, s, []byte("000990"), []byte("012345")); !slices.Equal(got, entries[990:12345]) {
		t.Fatalf("a scan with bounds gave %d entries, not what was put", len(got))
	}
	for _, stop := range []int{1, 3, 4, 5, 63, 64, 65, 1008, 3000} {
		n := 0
		must(t, s.Scan(nil, nil, func(key, val []byte) bool {
			if entries[n].key != string(key) || entries[n].val != string(val) {
				t.Fatalf("entry %d is wrong", n)
			}
			n++
			return n < stop
		}))
		if n != stop {
			t.Fatalf("scan stopped at %d, want %d", n, stop)
		}
	}
}

func testDeleteRange(t *testing.T, open statebackend.Opener) {
	s := fresh(t, open)
	put(t, s, kv{"a", ""}, kv{"b", ""}, kv{"c", ""}, kv{"d", ""})
	write(t, s, true, func(b statebackend.Batch) {
		b.Put([]byte("bb"), nil) // put before: goes
		b.DeleteRange([]byte("b"), []byte("d"))
		b.Put([]byte("c"), []byte("again")) // put after: stays
	})
	want(t, s, kv{"a", ""}, kv{"c", "again"}, kv{"d", ""})
	wantGet(t, s, "bb", "", false)
	wantGet(t, s, "c", "again", true)

	write(t, s, true, func(b statebackend.Batch) {
		b.DeleteRange([]byte("d"), []byte("d"))
		b.DeleteRange([]byte("d"), []byte("a"))
		b.DeleteRange([]byte("a"), nil) // only a scan takes nil for no bound
		if b.Len() != 0 {
			t.Errorf("empty ranges count: Len is %d", b.Len())
		}
	})
	want(t, s, kv{"a", ""}, kv{"c", "again"}, kv{"d", ""})

	// Over memory and files.
	must(t, s.Flush())
	put(t, s, kv{"a", "new"})
	write(t, s, false, func(b statebackend.Batch) { b.DeleteRange(nil, []byte("c")) })
	want(t, s, kv{"c", "again"}, kv{"d", ""})
	must(t, s.Flush())
	want(t, s, kv{"c", "again"}, kv{"d", ""})
}

func testLargeValues(t *testing.T, open statebackend.Opener) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openAt(t, open, dir)
	rng := rand.NewChaCha8([32]byte{1})
	big := make([]byte, 8<<20)
	rng.Read(big)
	key := bytes.Repeat([]byte("k"), 100_000)
	b := s.NewBatch()
	for round := range 3 {
		b.Put(key, big)
		b.Put([]byte("other"), big[:round])
		must(t, s.Write(b, true))
		b.Reset()
		big[round]++
		got, found, err := s.Get(nil, key)
		big[round]--
		if err != nil || !found || !bytes.Equal(got, big) {
			t.Fatalf("round %d: a large value came back wrong: %d bytes, %v, %v", round, len(got), found, err)
		}
		vals, err := s.MultiGet([][]byte{key, key})
		if err != nil || !bytes.Equal(vals[0], big) || !bytes.Equal(vals[1], big) {
			t.Fatalf("round %d: MultiGet of large values is wrong: %v", round, err)
		}
		n := 0
		must(t, s.Scan(key, nil, func(k, v []byte) bool {
			if n++; n == 1 && (!bytes.Equal(k, key) || !bytes.Equal(v, big)) {
				t.Fatalf("round %d: Scan gives a large value wrong", round)
			}
			return true
		}))
		if n != 2 {
			t.Fatalf("round %d: %d entries, want 2", round, n)
		}
		must(t, s.Flush())
	}
	must(t, b.Close())
}

func testSizeAndFlush(t *testing.T, open statebackend.Opener) {
	s := fresh(t, open)
	val := make([]byte, 1<<20)
	rng := rand.NewChaCha8([32]byte{2})
	for i := range 8 {
		rng.Read(val)
		put(t, s, kv{fmt.Sprint(i), string(val)})
	}
	must(t, s.Flush())
	n, err := s.Size()
	must(t, err)
	if n < 8<<20 || n > 64<<20 {
		t.Errorf("Size is %d with 8 MiB in it", n)
	}
	must(t, s.Flush()) // nothing to do
}

func testEphemeral(t *testing.T, open statebackend.Opener) {
	s, err := open(filepath.Join(t.TempDir(), "store"), statebackend.Options{Ephemeral: true, CacheBytes: 1 << 20, WriteBufferBytes: 1 << 20})
	must(t, err)
	for i := range 1000 {
		put(t, s, kv{fmt.Sprintf("%04d", i), string(make([]byte, 5000))})
	}
	write(t, s, true, func(b statebackend.Batch) { b.Put([]byte("synced"), nil) })
	wantGet(t, s, "synced", "", true)
	if n := len(scan(t, s, nil, nil)); n != 1001 {
		t.Errorf("%d entries, want 1001", n)
	}
	must(t, s.Close())
}
