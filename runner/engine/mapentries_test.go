package engine

import (
	"context"
	"slices"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// entriesKey is a key as newer SDKs write it: a field that our protos don't have.
func entriesKey(t *testing.T, key string) *fnpb.StateKey {
	t.Helper()
	inner, err := proto.Marshal(mapKeys(key).GetMultimapKeysUserState())
	if err != nil {
		t.Fatal(err)
	}
	k := &fnpb.StateKey{}
	wire := protowire.AppendBytes(protowire.AppendTag(nil, fieldMultimapEntries, protowire.BytesType), inner)
	if err := proto.Unmarshal(wire, k); err != nil {
		t.Fatal(err)
	}
	return k
}

// TestMultimapEntries: all entries of a multimap in one answer, from what a bundle has
// staged and what the store has, and gone once they are cleared.
func TestMultimapEntries(t *testing.T) {
	st := statefulStage(t)
	js := &jobStore{open: func() (statebackend.Store, error) { return memstore.NewDisk(nil).Open("job", statebackend.Options{}) }}
	defer js.close()
	ctx := context.Background()
	appendTo := func(b *bundleState, mapKeyOf, value string) {
		t.Helper()
		if err := b.Append(ctx, mapKey("k", str2(mapKeyOf)), str(value)); err != nil {
			t.Fatal(err)
		}
	}
	b := newBundleState(st, st.shards[0], js.reader)
	appendTo(b, "one", "a")
	appendTo(b, "two", "b")
	st.shards[0].apply(b.staged())
	if _, err := js.write(st.shards, []*layer{st.shards[0].freeze()}, nil); err != nil {
		t.Fatal(err)
	}
	st.shards[0].thaw()

	b = newBundleState(st, st.shards[0], js.reader)
	appendTo(b, "two", "c")
	if err := b.Clear(ctx, mapKey("k", str2("one"))); err != nil {
		t.Fatal(err)
	}
	appendTo(b, "three", "")
	parts := []string{
		str2("two") + "\x00\x00\x00\x02" + str2("b") + str2("c"),
		str2("three") + "\x00\x00\x00\x01" + str2(""),
	}
	got := readAll(t, b, entriesKey(t, "k"))
	if want := parts[0] + parts[1]; got != want && got != parts[1]+parts[0] {
		t.Errorf("entries %q, want %q in any order", got, want)
	}
	if err := b.Append(ctx, entriesKey(t, "k"), []byte("x")); err == nil {
		t.Error("entries were appended to")
	}
	if err := b.Clear(ctx, entriesKey(t, "k")); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, b, entriesKey(t, "k")); got != "" {
		t.Errorf("entries %q after they were cleared", got)
	}
	// A field that nobody knows stays an error.
	odd := &fnpb.StateKey{}
	if err := proto.Unmarshal(slices.Concat(protowire.AppendTag(nil, 99, protowire.VarintType), []byte{1}), odd); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Get(ctx, odd, nil); err == nil {
		t.Error("a state key of an unknown kind was answered")
	}
}

func str2(s string) string { return string(str(s)) }
