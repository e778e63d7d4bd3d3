package monitoring

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// trie is the payload of a trie of paths such as "a/b"; one ending in "*" is
// truncated there.
func trie(bound int32, paths ...string) []byte {
	root := &pipepb.BoundedTrieNode{}
	for _, p := range paths {
		n := root
		p, cut := strings.CutSuffix(p, "*")
		for _, name := range strings.Split(strings.TrimSuffix(p, "/"), "/") {
			if n.Children == nil {
				n.Children = map[string]*pipepb.BoundedTrieNode{}
			}
			if n.Children[name] == nil {
				n.Children[name] = &pipepb.BoundedTrieNode{}
			}
			n = n.Children[name]
		}
		if cut {
			n.Truncated, n.Children = true, nil
		}
	}
	return mustMarshal(&pipepb.BoundedTrie{Bound: bound, Root: root})
}

// paths lists a trie payload's paths in order.
func paths(payload []byte) []string {
	var msg pipepb.BoundedTrie
	if err := proto.Unmarshal(payload, &msg); err != nil {
		panic(err)
	}
	var got []string
	var walk func(prefix string, n *pipepb.BoundedTrieNode)
	walk = func(prefix string, n *pipepb.BoundedTrieNode) {
		if n.GetTruncated() {
			got = append(got, prefix+"*")
		} else if len(n.GetChildren()) == 0 {
			got = append(got, strings.TrimSuffix(prefix, "/"))
		}
		for _, name := range sortedKeys(n.GetChildren()) {
			walk(prefix+name+"/", n.GetChildren()[name])
		}
	}
	if msg.GetRoot() != nil {
		walk("", msg.GetRoot())
	}
	return got
}

func TestTrie(t *testing.T) {
	single := func(path ...string) []byte {
		return mustMarshal(&pipepb.BoundedTrie{Bound: 100, Singleton: path})
	}
	for _, tc := range []struct {
		name     string
		payloads [][]byte
		want     []string
	}{
		{"nothing", [][]byte{trie0()}, nil},
		{"singletons", [][]byte{single("a", "b"), trie0(), single("a", "c"), single("a", "b")}, []string{"a/b", "a/c"}},
		{"union", [][]byte{trie(100, "a/b", "c"), trie(100, "a/d", "e")}, []string{"a/b", "a/d", "c", "e"}},
		{"a longer path", [][]byte{trie(100, "a"), trie(100, "a/b")}, []string{"a/b"}},
		{"cut off here", [][]byte{trie(100, "a/*"), trie(100, "a/b", "c")}, []string{"a/*", "c"}},
		{"cut off there", [][]byte{trie(100, "a/b", "c"), trie(100, "a/*")}, []string{"a/*", "c"}},
		{"over the bound", [][]byte{trie(3, "a/1", "a/2", "b/1"), trie(100, "b/2", "b/3")}, []string{"a/1", "a/2", "b/*"}},
		{"over a bound that is not stated", [][]byte{trie(0, numbered(60, "a")...), trie(0, numbered(60, "b")...)}, append([]string{"a/*"}, numbered(60, "b")...)},
		{"bound of one", [][]byte{trie(1, "a/b", "c")}, []string{"*"}},
	} {
		var a Accumulator
		for _, p := range tc.payloads {
			if err := a.Add([]*pipepb.MonitoringInfo{info("u", typeBoundedTrie, "s", p)}); err != nil {
				t.Fatal(err)
			}
		}
		if got := paths(a.Snapshot()[0].GetPayload()); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func trie0() []byte { return mustMarshal(&pipepb.BoundedTrie{Bound: 100}) }

func numbered(n int, dir string) []string {
	var s []string
	for i := range n {
		s = append(s, fmt.Sprintf("%s/%02d", dir, i))
	}
	return s
}

// payloads draws payloads of the types for which neither order nor grouping may matter.
func payloads(typ string) *rapid.Generator[[]byte] {
	// Doubles of few bits: the addition of others is not associative.
	value := rapid.Int64Range(-1000, 1000)
	return rapid.Custom(func(t *rapid.T) []byte {
		switch typ {
		case typeSumInt64:
			return ints(rapid.Int64().Draw(t, "v"))
		case typeSumDouble:
			return floats(float64(value.Draw(t, "v")) / 8)
		case typeDistInt64:
			return ints(rapid.Int64Range(0, 3).Draw(t, "count"), rapid.Int64().Draw(t, "sum"), value.Draw(t, "min"), value.Draw(t, "max"))
		case typeDistDouble:
			return cat(ints(rapid.Int64Range(1, 3).Draw(t, "count")), floats(float64(value.Draw(t, "sum")), float64(value.Draw(t, "min")), float64(value.Draw(t, "max"))))
		case typeSetString:
			return set(rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "bb", "ccc", "dddd", "eeeee", "ffffff"}), 0, 5).Draw(t, "items")...)
		default:
			return trie(1000, rapid.SliceOfN(rapid.StringMatching(`[ab](/[ab]){0,3}(/\*)?`), 1, 5).Draw(t, "paths")...)
		}
	})
}

// TestAlgebra: (a+b)+c = a+(b+c) and a+b = b+a, and a table merged into another is as
// if its infos had been added.
func TestAlgebra(t *testing.T) {
	for _, typ := range []string{typeSumInt64, typeSumDouble, typeDistInt64, typeDistDouble, typeSetString, typeBoundedTrie} {
		t.Run(typ, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				cellOf := func(ps ...[]byte) cell {
					c := newCell(typ)
					if s, ok := c.(*stringSet); ok {
						s.limit = 6 // so that sets are cut
					}
					for _, p := range ps {
						if err := c.merge(p); err != nil {
							t.Fatal(err)
						}
					}
					return c
				}
				ps := rapid.SliceOfN(payloads(typ), 1, 8).Draw(t, "payloads")
				want := cellOf(ps...).payload()
				if got := cellOf(rapid.Permutation(ps).Draw(t, "order")...).payload(); !slices.Equal(got, want) {
					t.Fatalf("in another order %x, not %x", got, want)
				}
				at := rapid.IntRange(0, len(ps)).Draw(t, "split")
				var sides [][]byte
				for _, side := range [][][]byte{ps[:at], ps[at:]} {
					if len(side) > 0 {
						sides = append(sides, cellOf(side...).payload())
					}
				}
				if got := cellOf(sides...).payload(); !slices.Equal(got, want) {
					t.Fatalf("grouped otherwise %x, not %x", got, want)
				}
			})
		})
	}
}

// TestTrieBound: whatever is merged, a trie keeps its bound and has every path.
func TestTrieBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c boundedTrie
		var all []string
		bound := rapid.Int32Range(1, 8).Draw(t, "bound")
		for range rapid.IntRange(1, 5).Draw(t, "tries") {
			p := rapid.SliceOfN(rapid.StringMatching(`[abc](/[abc]){0,3}`), 1, 5).Draw(t, "paths")
			all = append(all, p...)
			if err := c.merge(trie(bound, p...)); err != nil {
				t.Fatal(err)
			}
		}
		got := paths(c.payload())
		if len(got) > int(bound) || len(got) != c.root.leaves {
			t.Fatalf("%d paths, counted %d, bound %d", len(got), c.root.leaves, bound)
		}
		for _, p := range all {
			if !slices.ContainsFunc(got, func(g string) bool {
				if prefix, ok := strings.CutSuffix(g, "*"); ok {
					return strings.HasPrefix(p+"/", prefix) || strings.HasPrefix(prefix, p+"/")
				}
				return strings.HasPrefix(g+"/", p+"/")
			}) {
				t.Fatalf("%q is not in %q", p, got)
			}
		}
	})
}

// FuzzAdd: no payload of any type panics, what was taken can be merged once more, and
// what was refused changes nothing.
func FuzzAdd(f *testing.F) {
	types := []string{typeSumInt64, typeSumDouble, typeDistInt64, typeDistDouble, typeLatestInt64, typeLatestDouble, typeSetString, typeBoundedTrie, typeHistogramInt64, "other"}
	for i := range types {
		for _, p := range [][]byte{nil, ints(1), ints(2, 10, 3, 7), floats(1), cat(ints(1), floats(1, 2, 3)), set("a", "b"), chunkedSet([]string{"a"}), trie(2, "a/b", "a/c", "d"), {0x7f, 0xff, 0xff, 0xff, 0xff}} {
			f.Add(i, p, p)
		}
	}
	f.Fuzz(func(t *testing.T, i int, one, two []byte) {
		typ := types[uint(i)%uint(len(types))]
		var a, b table
		okay := a.add([]*pipepb.MonitoringInfo{info("u", typ, "s", one)}) == nil
		before := a.snapshot()
		if a.add([]*pipepb.MonitoringInfo{info("u", typ, "s", two)}) != nil {
			after := a.snapshot()
			if okay && !slices.Equal(before[0].GetPayload(), after[0].GetPayload()) {
				t.Errorf("%s: refused %x and changed", typ, two)
			}
		}
		b.merge(&a)
		if err := b.add(a.snapshot()); err != nil {
			t.Errorf("%s: can't read its own: %v", typ, err)
		}
	})
}
