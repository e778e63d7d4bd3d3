package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
	"pgregory.net/rapid"
)

// stateModel is user state as obviously as it can be: what TestStateAgainstModel
// compares the layers with.
type stateModel struct {
	bags  map[string]string
	maps  map[string]map[string]string
	lists map[string][]listEntry
}

func newStateModel() *stateModel {
	return &stateModel{bags: map[string]string{}, maps: map[string]map[string]string{}, lists: map[string][]listEntry{}}
}

func (m *stateModel) clone() *stateModel {
	c := newStateModel()
	for k, v := range m.bags {
		c.bags[k] = v
	}
	for k, v := range m.maps {
		c.maps[k] = map[string]string{}
		for mk, mv := range v {
			c.maps[k][mk] = mv
		}
	}
	for k, v := range m.lists {
		c.lists[k] = slices.Clone(v)
	}
	return c
}

func bagKey(key string) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{
		TransformId: "t", UserStateId: "bag", Key: []byte(key)}}}
}

func mapKey(key, mk string) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_MultimapUserState_{MultimapUserState: &fnpb.StateKey_MultimapUserState{
		TransformId: "t", UserStateId: "map", Key: []byte(key), MapKey: []byte(mk)}}}
}

func mapKeys(key string) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_MultimapKeysUserState_{MultimapKeysUserState: &fnpb.StateKey_MultimapKeysUserState{
		TransformId: "t", UserStateId: "map", Key: []byte(key)}}}
}

func listKey(key string, r sortRange) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_OrderedListUserState_{OrderedListUserState: &fnpb.StateKey_OrderedListUserState{
		TransformId: "t", UserStateId: "list", Key: []byte(key), Range: &fnpb.OrderedListRange{Start: r.from, End: r.to}}}}
}

func readAll(t fataler, s *bundleState, k *fnpb.StateKey) string {
	t.Helper()
	var out []byte
	var token []byte
	for {
		data, next, err := s.Get(context.Background(), k, token)
		if err != nil {
			t.Fatalf("Get(%v): %v", k, err)
		}
		out = append(out, data...)
		if next == nil {
			return string(out)
		}
		token = next
	}
}

func statefulStage(t fataler) *stageRun {
	t.Helper()
	value, err := coders.Compile(map[string]*pipepb.Coder{"b": {Spec: &pipepb.FunctionSpec{Urn: "beam:coder:bytes:v1"}}}, "b")
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	return &stageRun{
		index:  3,
		states: map[sideID]declaredState{{"t", "bag"}: {}, {"t", "map"}: {value: value}, {"t", "list"}: {value: value, list: true}},
		shards: []*shardState{newShardState(nil, 400)},
	}
}

// TestStateAgainstModel runs random bundles of state requests, some of which fail
// and are dropped, with epochs at random moments (before, while and after a
// bundle reads), and compares every read with a model.
func TestStateAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := statefulStage(t)
		st.shards[0].kept.limit = rapid.SampledFrom([]int64{0, 400, 1 << 20}).Draw(t, "remembered")
		js := &jobStore{open: func() (statebackend.Store, error) { return memstore.NewDisk(nil).Open("job", statebackend.Options{}) }}
		defer js.close()
		shard := st.shards[0]
		var frozen *layer
		epoch := func() {
			switch {
			case frozen == nil:
				frozen = shard.freeze()
			case rapid.Bool().Draw(t, "thaw"):
				if _, err := js.write([]*shardState{shard}, []*layer{frozen}, nil); err != nil {
					t.Fatalf("write: %v", err)
				}
				shard.thaw()
				frozen = nil
			default:
				// Written, but readers still have the frozen layer.
				if _, err := js.write([]*shardState{shard}, []*layer{frozen}, nil); err != nil {
					t.Fatalf("write: %v", err)
				}
			}
		}
		model := newStateModel()
		bundles := rapid.IntRange(1, 12).Draw(t, "bundles")
		for range bundles {
			now := model.clone()
			b := newBundleState(st, shard, js.reader)
			ops := rapid.IntRange(0, 12).Draw(t, "ops")
			for range ops {
				if rapid.IntRange(0, 5).Draw(t, "epoch") == 0 {
					epoch()
				}
				stateOp(t, b, now)
			}
			checkState(t, b, now)
			if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
				continue
			}
			shard.apply(b.staged())
			model = now
		}
		checkState(t, newBundleState(st, shard, js.reader), model)
	})
}

var modelKeys = []string{"k", "kk"}

func stateOp(t *rapid.T, b *bundleState, m *stateModel) {
	ctx := context.Background()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("state request: %v", err)
		}
	}
	key := rapid.SampledFrom(modelKeys).Draw(t, "key")
	mk := rapid.SampledFrom([]string{"a", "b", "ab"}).Draw(t, "map key")
	val := string(rune('A' + rapid.IntRange(0, 25).Draw(t, "value")))
	switch rapid.SampledFrom([]string{"append", "clear", "put", "mapclear", "mapclearall", "insert", "clearrange", "clearlist"}).Draw(t, "op") {
	case "append":
		check(b.Append(ctx, bagKey(key), []byte(val)))
		m.bags[key] += val
	case "clear":
		check(b.Clear(ctx, bagKey(key)))
		delete(m.bags, key)
	case "put":
		check(b.Append(ctx, mapKey(key, mk), []byte(val)))
		if m.maps[key] == nil {
			m.maps[key] = map[string]string{}
		}
		m.maps[key][mk] += val
	case "mapclear":
		check(b.Clear(ctx, mapKey(key, mk)))
		delete(m.maps[key], mk)
	case "mapclearall":
		check(b.Clear(ctx, mapKeys(key)))
		delete(m.maps, key)
	case "insert":
		sk := rapid.Int64Range(0, 6).Draw(t, "sort key")
		data := append(binary.AppendUvarint(nil, uint64(sk)), 1, val[0])
		check(b.Append(ctx, listKey(key, everySort), data))
		l := m.lists[key]
		i := sort.Search(len(l), func(i int) bool { return l[i].sort > sk })
		m.lists[key] = slices.Insert(slices.Clone(l), i, listEntry{sk, data})
	case "clearrange":
		from := rapid.Int64Range(0, 6).Draw(t, "from")
		r := sortRange{from, from + rapid.Int64Range(0, 3).Draw(t, "length")}
		check(b.Clear(ctx, listKey(key, r)))
		m.lists[key] = slices.DeleteFunc(slices.Clone(m.lists[key]), func(e listEntry) bool { return r.has(e.sort) })
	case "clearlist":
		check(b.Clear(ctx, listKey(key, everySort)))
		delete(m.lists, key)
	}
}

func checkState(t *rapid.T, b *bundleState, m *stateModel) {
	for _, key := range modelKeys {
		if got, want := readAll(t, b, bagKey(key)), m.bags[key]; got != want {
			t.Fatalf("bag %q: %q, want %q", key, got, want)
		}
		var keys []string
		for _, mk := range []string{"a", "b", "ab"} {
			if got, want := readAll(t, b, mapKey(key, mk)), m.maps[key][mk]; got != want {
				t.Fatalf("map %q[%q]: %q, want %q", key, mk, got, want)
			}
			if m.maps[key][mk] != "" {
				keys = append(keys, mk)
			}
		}
		got := strings.Split(readAll(t, b, mapKeys(key)), "")
		want := strings.Split(strings.Join(keys, ""), "")
		sort.Strings(got)
		sort.Strings(want)
		if !slices.Equal(got, want) {
			t.Fatalf("map %q has keys %v, want %v", key, got, want)
		}
		for _, r := range []sortRange{everySort, {2, 4}} {
			var list string
			for _, e := range m.lists[key] {
				if r.has(e.sort) {
					list += string(e.data)
				}
			}
			if got := readAll(t, b, listKey(key, r)); got != list {
				t.Fatalf("list %q in %v: %x, want %x", key, r, got, list)
			}
		}
	}
}

// TestLongReadsComeInPages: a bag larger than a page arrives whole, and as it was
// when the first page was read, although the bundle changes it in between.
func TestLongReadsComeInPages(t *testing.T) {
	st := statefulStage(t)
	b := newBundleState(st, st.shards[0], func() (statebackend.Reader, error) { return nil, nil })
	want := strings.Repeat("0123456789", pageBytes/4)
	ctx := context.Background()
	if err := b.Append(ctx, bagKey("k"), []byte(want)); err != nil {
		t.Fatal(err)
	}
	first, token, err := b.Get(ctx, bagKey("k"), nil)
	if err != nil || token == nil {
		t.Fatalf("first page: token %x, error %v", token, err)
	}
	if err := b.Clear(ctx, bagKey("k")); err != nil {
		t.Fatal(err)
	}
	got := string(first)
	for token != nil {
		var page []byte
		if page, token, err = b.Get(ctx, bagKey("k"), token); err != nil {
			t.Fatal(err)
		}
		got += string(page)
	}
	if got != want {
		t.Errorf("read %d bytes, want %d", len(got), len(want))
	}
	if _, _, err := b.Get(ctx, bagKey("k"), []byte("made up")); err == nil {
		t.Error("a made-up token was accepted")
	}
}

func TestStateRequestsThatCantBeServed(t *testing.T) {
	st := statefulStage(t)
	b := newBundleState(st, st.shards[0], func() (statebackend.Reader, error) { return nil, nil })
	noState := newBundleState(&stageRun{}, nil, nil)
	other := bagKey("k")
	other.GetBagUserState().UserStateId = "other"
	for _, c := range []struct {
		name string
		s    *bundleState
		key  *fnpb.StateKey
		want string
	}{
		{"nil key", b, nil, "kind this runner does not know"},
		{"empty key", b, &fnpb.StateKey{}, "kind this runner does not know"},
		{"undeclared state", b, other, `no state "other"`},
		{"stage without state", noState, bagKey("k"), "none declared"},
		{"unknown side input", b, &fnpb.StateKey{Type: &fnpb.StateKey_IterableSideInput_{IterableSideInput: &fnpb.StateKey_IterableSideInput{TransformId: "t", SideInputId: "i9"}}}, `no side input "i9"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := c.s.Get(context.Background(), c.key, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	if err := b.Append(context.Background(), listKey("k", everySort), []byte{1, 200, 1}); err == nil {
		t.Error("an ordered list took an entry that is cut off")
	}
}

func Example_cellKey() {
	fmt.Printf("%x\n", cellKey(nil, 1, 2, nil, []byte("k"), "s"))
	// Output: 0001000200016b0173
}
