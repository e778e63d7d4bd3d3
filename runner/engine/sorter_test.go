package engine

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
	"pgregory.net/rapid"
)

// TestSorterAgainstModel: whatever comes in whatever order, and wherever epochs are
// written, each run hands on what the watermark has passed by the allowed lateness, each
// key's elements in the order of their timestamps and equal ones in that of their arrival;
// what comes later than that is dropped, and what waits holds the watermark.
func TestSorterAgainstModel(t *testing.T) {
	scan, err := coders.CompileWindowed(testCoders(), "ikv")
	if err != nil {
		t.Fatal(err)
	}
	type element struct {
		key string
		ts  int64
		nr  int
	}
	rapid.Check(t, func(t *rapid.T) {
		lateness := rapid.Int64Range(0, 20).Draw(t, "lateness")
		s := newSorter(&graph.Stage{Index: 1, Input: &graph.Input{Sorting: &graph.Sorting{AllowedLateness: lateness}}},
			scan, 1, limits{1 << 10, 10}, nil)
		var store jobStore
		store.open = func() (statebackend.Store, error) { return memstore.NewDisk(nil).Open("job", statebackend.Options{}) }
		var waiting []element
		var late int64
		n, wm := 0, int64(core.MinTime)
		for range rapid.IntRange(1, 8).Draw(t, "runs") {
			if wm == core.MaxTime {
				break
			}
			var blocks []core.Block
			until := max(wm, core.MinTime+lateness) - lateness
			for range rapid.IntRange(0, 12).Draw(t, "elements") {
				n++
				e := element{fmt.Sprint("k", rapid.IntRange(0, 3).Draw(t, "key")), rapid.Int64Range(0, 100).Draw(t, "ts"), n}
				w := e.ts / 10 * 10
				blocks = append(blocks, block(kv(e.ts, e.key, fmt.Sprint(e.nr), coders.IntervalWindow{Start: w, End: w + 10})))
				if e.ts >= until {
					waiting = append(waiting, e)
				} else {
					late++
				}
			}
			r := s.start(core.GroupShard{Event: wm}, store.reader)
			out, err := r.run(blocks)
			if err != nil {
				t.Fatal(err)
			}
			sum := r.settle()
			staged, dropped := r.changes()
			s.state[0].apply(staged)
			if rapid.Bool().Draw(t, "epoch") {
				if _, err := store.write(s.state, []*layer{s.state[0].freeze()}, nil); err != nil {
					t.Fatal(err)
				}
				s.state[0].thaw()
			}
			var got []element
			var el coders.Element
			for data := range render(out, nil) {
				for len(data) > 0 {
					m, err := scan.Next(data, &el)
					if err != nil {
						t.Fatal(err)
					}
					e := element{key: string(el.Key[1:]), ts: el.Timestamp}
					if _, err := fmt.Sscan(string(el.Value[1:]), &e.nr); err != nil {
						t.Fatal(err)
					}
					got = append(got, e)
					data = data[m:]
				}
			}
			var want, left []element
			hold := int64(core.MaxTime)
			for _, e := range waiting {
				if e.ts <= until {
					want = append(want, e)
				} else {
					left = append(left, e)
					hold = min(hold, e.ts)
				}
			}
			waiting = left
			// Keys are independent of each other.
			byKey := func(a, b element) int { return cmp.Compare(a.key, b.key) }
			slices.SortStableFunc(got, byKey)
			slices.SortStableFunc(want, func(a, b element) int { return cmp.Or(byKey(a, b), cmp.Compare(a.ts, b.ts)) })
			if !slices.Equal(got, want) {
				t.Fatalf("at watermark %d got %v, want %v", wm, got, want)
			}
			if sum.Hold != hold {
				t.Fatalf("at watermark %d held back to %d, want %d", wm, sum.Hold, hold)
			}
			if dropped != late {
				t.Fatalf("dropped %d, want %d", dropped, late)
			}
			late = 0
			if wm = max(wm, rapid.Int64Range(0, 130).Draw(t, "watermark")); wm > 120 {
				wm = core.MaxTime
				// All is due now, and nothing more comes.
				lateness = 0
			}
		}
	})
}

// TestSorterHandsOnALittleAtATime: of much that is due at once, a run leaves what is over
// its share due for the next.
func TestSorterHandsOnALittleAtATime(t *testing.T) {
	scan, err := coders.CompileWindowed(testCoders(), "ikv")
	if err != nil {
		t.Fatal(err)
	}
	s := newSorter(&graph.Stage{Index: 1, Input: &graph.Input{Sorting: &graph.Sorting{}}}, scan, 1, limits{1 << 20, 1000}, nil)
	var blocks []core.Block
	value := string(make([]byte, 100_000))
	const n = 200 // 20 MB
	for i := range n {
		blocks = append(blocks, block(kv(int64(i), fmt.Sprint(i), value, coders.IntervalWindow{Start: 0, End: 1000})))
	}
	count, runs := int64(0), 0
	a := core.GroupShard{Event: core.MinTime}
	for {
		r := s.start(a, func() (statebackend.Reader, error) { return nil, nil })
		out, err := r.run(blocks)
		if err != nil {
			t.Fatal(err)
		}
		sum := r.settle()
		staged, _ := r.changes()
		s.state[0].apply(staged)
		bytes := int64(0)
		for _, b := range out {
			count += b.Count
			bytes += b.Bytes
		}
		if bytes > mostSorted+int64(len(value))*10 {
			t.Errorf("a run has handed on %d bytes", bytes)
		}
		if a.Event == core.MaxTime && sum.Event == core.MaxTime {
			break
		}
		a.Event, blocks = core.MaxTime, nil
		runs++
	}
	if count != n || runs < 3 {
		t.Errorf("%d elements in %d runs, want %d in 3 or more", count, runs, n)
	}
}

// TestManyEntriesAreMerged: entries that come together are where they would be had they come
// one by one, equal ones in order of arrival.
func TestManyEntriesAreMerged(t *testing.T) {
	var together, alone cell
	for batch := range 4 {
		var list []listEntry
		for i := range 2 * few {
			list = append(list, listEntry{sort: int64(i / 3), data: fmt.Appendf(nil, "%d.%d", batch, i)})
		}
		together.insertAll(list)
		for _, e := range list {
			alone.insert(e)
		}
	}
	same := func(a, b listEntry) bool { return a.sort == b.sort && string(a.data) == string(b.data) }
	if !slices.EqualFunc(together.list, alone.list, same) {
		t.Errorf("together %v, one by one %v", together.list, alone.list)
	}
}
