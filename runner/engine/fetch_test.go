package engine

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

// countingReader counts what is asked of a store.
type countingReader struct {
	statebackend.Reader
	gets, scans, scanned int
}

func (c *countingReader) Get(dst, key []byte) ([]byte, bool, error) {
	c.gets++
	return c.Reader.Get(dst, key)
}

func (c *countingReader) Scan(lo, hi []byte, fn func(key, val []byte) bool) error {
	c.scans++
	return c.Reader.Scan(lo, hi, func(k, v []byte) bool {
		c.scanned++
		return fn(k, v)
	})
}

// storedValues is a shard with values in its store, none of them remembered.
func storedValues(t testing.TB, values map[string]string) (*shardState, *countingReader) {
	js := &jobStore{open: func() (statebackend.Store, error) { return memstore.NewDisk(nil).Open("job", statebackend.Options{}) }}
	t.Cleanup(func() { js.close() })
	shard := newShardState(nil, 0)
	staged := newLayer(0)
	for k, v := range values {
		staged.setValue(k, value{data: []byte(v), fresh: true})
	}
	shard.apply(staged)
	if _, err := js.write([]*shardState{shard}, []*layer{shard.freeze()}, nil); err != nil {
		t.Fatal(err)
	}
	shard.thaw()
	st, err := js.opened()
	if err != nil {
		t.Fatal(err)
	}
	return shard, &countingReader{Reader: st}
}

func windowCell(group int, window string, key int) string {
	return string(cellKey(nil, group, 3, []byte(window), fmt.Appendf(nil, "key%04d", key), cellWindow))
}

// TestFetchChangesNothing: values are the same whether they were read ahead or not.
func TestFetchChangesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all, model := []string{}, map[string]string{}
		stored := map[string]string{}
		for group := range 2 {
			for _, w := range []string{"w1", "w2"} {
				for k := range rapid.IntRange(0, 30).Draw(rt, "keys") {
					key := windowCell(group, w, k)
					all = append(all, key)
					if rapid.Bool().Draw(rt, "stored") {
						stored[key] = key + " stored"
						model[key] = stored[key]
					}
				}
			}
		}
		shard, st := storedValues(t, stored)
		staged := newLayer(0)
		for _, k := range all {
			switch rapid.IntRange(0, 5).Draw(rt, "since") {
			case 0:
				staged.setValue(k, value{})
				delete(model, k)
			case 1:
				staged.setValue(k, value{data: []byte("newer")})
				model[k] = "newer"
			}
		}
		shard.apply(staged)
		r := shard.reader(func() (statebackend.Reader, error) { return st, nil })
		due := rapid.SliceOf(rapid.SampledFrom(append(all, windowCell(7, "w", 0)))).Draw(rt, "due")
		slices.Sort(due)
		if err := r.fetch(due); err != nil {
			rt.Fatal(err)
		}
		for _, k := range all {
			got, err := r.value(k)
			if err != nil || string(got) != model[k] {
				rt.Fatalf("%x: %q (%v), want %q", k, got, err, model[k])
			}
		}
	})
}

// TestAWindowIsFetchedInOneWalk, and a walk past many keys that are not due is given up.
func TestAWindowIsFetchedInOneWalk(t *testing.T) {
	values := map[string]string{}
	for k := range 2000 {
		values[windowCell(1, "w", k)] = "v"
	}
	shard, st := storedValues(t, values)
	for _, c := range []struct {
		name                 string
		first, step          int
		gets, scans, scanned int
	}{
		{"all of them", 0, 1, 0, 1, 100},
		{"every third", 0, 3, 0, 1, 298},
		{"few among many", 0, 19, 78, 1, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			*st = countingReader{Reader: st.Reader}
			r := shard.reader(func() (statebackend.Reader, error) { return st, nil })
			var due []string
			for i := range 100 {
				due = append(due, windowCell(1, "w", c.first+i*c.step))
			}
			if err := r.fetch(slices.Clone(due)); err != nil {
				t.Fatal(err)
			}
			for _, k := range due {
				if v, err := r.value(k); err != nil || string(v) != "v" {
					t.Fatalf("%q, %v", v, err)
				}
			}
			if st.gets != c.gets || st.scans != c.scans || st.scanned > c.scanned+1 {
				t.Errorf("%d gets, %d scans of %d records; want %d, %d, about %d", st.gets, st.scans, st.scanned, c.gets, c.scans, c.scanned)
			}
		})
	}
}
