package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"pgregory.net/rapid"
)

// testKeeper keeps within a budget, below a directory of its own.
func testKeeper(t interface {
	fataler
	Cleanup(func())
}, budget int64) *keeper {
	t.Helper()
	dir, err := os.MkdirTemp("", "summerbeam-test-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	mem := newMemory(NewBudget(budget))
	k := &keeper{mem: mem, slots: 2, disk: newSegments(dir, osFiles{}, mem, func(int) string { return "s02" })}
	t.Cleanup(func() {
		_ = k.disk.close()
		os.RemoveAll(dir)
	})
	return k
}

// keepAll puts blocks on the books, or on disk.
func keepAll(t fataler, k *keeper, blocks []core.Block) []core.Block {
	t.Helper()
	out := slices.Clone(blocks)
	for i := range out {
		var err error
		if out[i].Payload, _, err = k.keep(0, out[i].Payload.([]byte), true); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return out
}

// TestGroupingOnDiskIsGroupingInMemory: whatever the budget, the groups are the
// same, with their values in the same order.
func TestGroupingOnDiskIsGroupingInMemory(t *testing.T) {
	outputs := []pipepb.OutputTime_Enum{
		pipepb.OutputTime_END_OF_WINDOW, pipepb.OutputTime_EARLIEST_IN_PANE, pipepb.OutputTime_LATEST_IN_PANE,
	}
	rapid.Check(t, func(t *rapid.T) {
		ws := &pipepb.WindowingStrategy{OutputTime: rapid.SampledFrom(outputs).Draw(t, "output")}
		coder := rapid.SampledFrom([]string{"wkv", "ikv"}).Draw(t, "coder")
		if coder == "ikv" && rapid.Bool().Draw(t, "merging") {
			ws.MergeStatus = pipepb.MergeStatus_NEEDS_MERGE
		}
		g := testGrouper(t, coder, ws, limits{blockBytes: rapid.IntRange(1, 3000).Draw(t, "blockBytes"), blockElements: 100})
		size := rapid.IntRange(0, 200).Draw(t, "size")
		keys := rapid.IntRange(1, 40).Draw(t, "keys")
		var blocks []core.Block
		n := 0
		for range rapid.IntRange(0, 30).Draw(t, "blocks") {
			var els [][]byte
			for range rapid.IntRange(1, 60).Draw(t, "count") {
				k := strings.Repeat("key", n%3) + fmt.Sprint(n*n%keys)
				ts := int64(n * 7919 % 1000)
				var w []coders.IntervalWindow
				if coder == "ikv" {
					w = append(w, coders.IntervalWindow{Start: ts / 10 * 10, End: ts/10*10 + 10 + ts%3})
					if n%5 == 0 {
						w = append(w, coders.IntervalWindow{Start: ts, End: ts + 2})
					}
				}
				els = append(els, kv(ts, k, fmt.Sprintf("%0*d", size, n), w...))
				n++
			}
			blocks = append(blocks, block(els...))
		}
		whole, err := g.group(nil, blocks)
		if err != nil {
			t.Fatal(err)
		}
		k := testKeeper(t, int64(1)<<rapid.IntRange(10, 18).Draw(t, "budget"))
		out, err := g.group(k, keepAll(t, k, blocks))
		if err != nil {
			t.Fatal(err)
		}
		want, got := groupsOf(t, g, whole), groupsOf(t, g, out)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		var count int64
		for _, b := range out {
			count += b.Count
			h := int64(coders.MaxTimestamp)
			for _, l := range groupsOf(t, g, []core.Block{b}) {
				var ts int64
				fmt.Sscan(l, &ts)
				h = min(h, ts)
			}
			if b.Hold != h {
				t.Fatalf("a block holds %d, its groups are from %d", b.Hold, h)
			}
		}
		if count != int64(len(want)) {
			t.Fatalf("blocks count %d groups, want %d", count, len(want))
		}
		k.drop(out)
		if u := k.mem.usage(); u.Used != 0 || u.Disk != 0 {
			t.Fatalf("left on the books: %+v", u)
		}
	})
}

// decodeIterable reads one rendered group as the SDKs do, asking for what lies
// behind a token.
func decodeIterable(t fataler, tokens *iterables, data []byte) (key string, values []string) {
	t.Helper()
	data = data[12:]
	_, n, err := coders.ReadPane(data)
	if err != nil {
		t.Fatalf("pane: %v", err)
	}
	data = data[n:]
	key = readStr(&data)
	size := int32(binary.BigEndian.Uint32(data))
	data = data[4:]
	if size >= 0 {
		for range size {
			values = append(values, readStr(&data))
		}
		return key, values
	}
	for {
		chunk, n, _ := coders.ReadVarint(data)
		data = data[n:]
		switch {
		case chunk == 0:
			return key, values
		case chunk > 0:
			for range chunk {
				values = append(values, readStr(&data))
			}
			continue
		}
		token := readStr(&data)
		if len(data) > 0 {
			t.Fatalf("%d bytes behind the token", len(data))
		}
		var cursor []byte
		for first := true; first || cursor != nil; first = false {
			page, next, err := tokens.page([]byte(token), cursor)
			if err != nil {
				t.Fatalf("page: %v", err)
			}
			if len(page) == 0 || len(page) > pageBytes {
				t.Fatalf("a page of %d bytes", len(page))
			}
			for len(page) > 0 {
				values = append(values, readStr(&page))
			}
			cursor = next
		}
		return key, values
	}
}

// TestAHotKeyIsPaged: a key with more values than a page holds is a token, in memory
// and on disk, and may be read again by another attempt.
func TestAHotKeyIsPaged(t *testing.T) {
	for _, budget := range []int64{1 << 20, 1 << 30} {
		t.Run(fmt.Sprint(budget), func(t *testing.T) {
			g := testGrouper(t, "wkv", nil, limits{256 << 10, 10_000})
			g.stateBacked = true
			var blocks []core.Block
			var want []string
			for b := range 40 {
				var els [][]byte
				for i := range 100 {
					v := fmt.Sprintf("%01000d", b*100+i)
					els = append(els, kv(1, "hot", v), kv(1, fmt.Sprint("cold", i), v))
					want = append(want, v)
				}
				blocks = append(blocks, block(els...))
			}
			k := testKeeper(t, budget)
			out, err := g.group(k, keepAll(t, k, blocks))
			if err != nil {
				t.Fatal(err)
			}
			for attempt := range 2 {
				tokens := &iterables{bundle: fmt.Sprint("b", attempt)}
				var got []string
				seen := 0
				for _, b := range out {
					for data, err := range render([]core.Block{b}, tokens) {
						if err != nil {
							t.Fatal(err)
						}
						if b.Count == 1 {
							if len(data) > 100 {
								t.Fatalf("the hot group is rendered in %d bytes", len(data))
							}
							_, got = decodeIterable(t, tokens, data)
						}
						seen += int(b.Count)
					}
				}
				if seen != 101 || !slices.Equal(got, want) {
					t.Fatalf("attempt %d: %d groups, %d values of the hot one, want %d", attempt, seen, len(got), len(want))
				}
				for _, bad := range []string{"", "b", "b0", "b1/", "b9/0", fmt.Sprintf("b%d/7", attempt), fmt.Sprintf("b%d/-1", attempt)} {
					if _, _, err := tokens.page([]byte(bad), nil); err == nil {
						t.Errorf("token %q: no error", bad)
					}
				}
				if _, _, err := tokens.page([]byte(fmt.Sprintf("b%d/0", attempt)), bytes.Repeat([]byte{0xff}, 5)); err == nil {
					t.Errorf("a cursor of ours that isn't: no error")
				}
			}
			// A reader that takes no tokens gets all values.
			g.stateBacked = false
			for data, err := range render(out, nil) {
				if err != nil {
					t.Fatal(err)
				}
				if len(data) > 3<<20 {
					if _, got := decodeIterable(t, nil, data); !slices.Equal(got, want) {
						t.Fatalf("%d values, want %d", len(got), len(want))
					}
				}
			}
			k.drop(out)
			if u := k.mem.usage(); u.Used != 0 || u.Disk != 0 {
				t.Fatalf("left on the books: %+v", u)
			}
		})
	}
}

// TestSpilledDataThatIsDamaged: what is read back is what was written, or an error
// that says where.
func TestSpilledDataThatIsDamaged(t *testing.T) {
	k := testKeeper(t, 1<<10)
	data := bytes.Repeat([]byte("0123456789"), 1000)
	sp, err := k.disk.write(0, data)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sp.read(); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read back %d bytes, error %v", len(got), err)
	}
	files, _ := filepath.Glob(filepath.Join(k.disk.dir, "*.segment"))
	if len(files) != 1 {
		t.Fatalf("files %v", files)
	}
	f, err := os.OpenFile(files[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	check := func(what, text string) {
		t.Helper()
		_, err := sp.read()
		if !errors.Is(err, errSpill) || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), files[0]) || !strings.Contains(err.Error(), "stage s02") {
			t.Errorf("%s: error %v", what, err)
		}
	}
	f.WriteAt([]byte("x"), 5000)
	check("a changed byte", "checksum")
	f.WriteAt(data[5000:5001], 5000)
	if _, err := sp.read(); err != nil {
		t.Errorf("repaired: %v", err)
	}
	f.Truncate(9999)
	check("cut off", "ends at 9999")
	f.Truncate(0)
	check("empty", "ends at 0")
}

// FuzzRecord: whatever stands in an extent, reading it ends with records or an error.
func FuzzRecord(f *testing.F) {
	k := testKeeper(f, 1<<20)
	w := newRunWriter(k, 0, 1000)
	_ = w.begin([]byte("an id that is long"), 5)
	_ = w.values(2, []byte("values"))
	w.end()
	f.Add(w.buf)
	f.Add([]byte{0, 0, 0, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var rec record
		for len(b) > 0 {
			n, err := readRecord(b, &rec)
			if err != nil {
				return
			}
			if n < recordHeader || n > len(b) {
				t.Fatalf("a record of %d bytes in %d", n, len(b))
			}
			for _, o := range []groupOrder{byKey, bySession, byWindow} {
				_, _, _ = o.split(rec.id)
			}
			b = b[n:]
		}
	})
}

func BenchmarkGroupOnDisk(b *testing.B) {
	g := testGrouper(b, "wkv", nil, limits{256 << 10, 10_000})
	const n = 100_000
	var blocks []core.Block
	var bytes int64
	for i := 0; i < n; i += 1000 {
		var els [][]byte
		for j := range 1000 {
			els = append(els, kv(1, fmt.Sprintf("key%07d", (i+j)*7919%10_000), string(make([]byte, 90))))
		}
		blocks = append(blocks, block(els...))
		bytes += blocks[len(blocks)-1].Bytes
	}
	b.SetBytes(bytes)
	b.ReportAllocs()
	for b.Loop() {
		k := testKeeper(b, 8<<20)
		k.mem.add(memOutputs, 7<<20) // so that memory is short
		out, err := g.group(k, keepAll(b, k, blocks))
		if err != nil {
			b.Fatal(err)
		}
		for range render(out, nil) {
		}
		k.drop(out)
		if err := k.disk.close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
}

func BenchmarkSpill(b *testing.B) {
	data := make([]byte, 256<<10)
	b.Run("write", func(b *testing.B) {
		k := testKeeper(b, 1<<20)
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			sp, err := k.disk.write(0, data)
			if err != nil {
				b.Fatal(err)
			}
			sp.free()
		}
	})
	b.Run("read", func(b *testing.B) {
		k := testKeeper(b, 1<<20)
		sp, err := k.disk.write(0, data)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := sp.read(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
