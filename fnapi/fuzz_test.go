package fnapi

import (
	"log/slog"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/protobuf/proto"
)

// FuzzCheckKey: whatever a worker sends as a state key is judged, never a crash,
// and what is accepted has nothing in it that this runner doesn't understand.
func FuzzCheckKey(f *testing.F) {
	for _, k := range []*fnpb.StateKey{
		{},
		{Type: &fnpb.StateKey_Runner_{Runner: &fnpb.StateKey_Runner{Key: []byte("k")}}},
		{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{TransformId: "t"}}},
		{Type: &fnpb.StateKey_OrderedListUserState_{OrderedListUserState: &fnpb.StateKey_OrderedListUserState{}}},
	} {
		b, _ := proto.Marshal(k)
		f.Add(b)
		f.Add(append(b, 0x9a, 0x06, 0x00))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k := &fnpb.StateKey{}
		if proto.Unmarshal(b, k) != nil {
			return
		}
		if checkKey(k) != nil {
			return
		}
		clean := proto.CloneOf(k)
		if (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, clean) != nil {
			return
		}
		if k.GetType() == nil || proto.Size(k) != proto.Size(clean) {
			t.Fatalf("accepted %v", k)
		}
	})
}

// FuzzCheckSplit: an accepted split accounts for each element once.
func FuzzCheckSplit(f *testing.F) {
	f.Add(int64(10), int64(3), int64(4), 0, 0)
	f.Add(int64(10), int64(3), int64(5), 1, 1)
	f.Add(int64(1), int64(-1), int64(1), 2, 1)
	f.Fuzz(func(t *testing.T, elements, last, first int64, primaries, residuals int) {
		if elements < 0 || primaries < 0 || residuals < 0 || primaries > 9 || residuals > 9 {
			return
		}
		split := &fnpb.ProcessBundleSplitResponse{
			ChannelSplits: []*fnpb.ProcessBundleSplitResponse_ChannelSplit{{
				TransformId: "s", LastPrimaryElement: last, FirstResidualElement: first,
			}},
			PrimaryRoots:  make([]*fnpb.BundleApplication, primaries),
			ResidualRoots: make([]*fnpb.DelayedBundleApplication, residuals),
		}
		if checkSplit("s", elements, split) != nil {
			return
		}
		whole := last + 1 + elements - first // in the primary and in the residual
		cut := int64(0)
		if primaries+residuals > 0 {
			cut = 1
		}
		if last < -1 || first < 0 || first > elements || whole+cut != elements {
			t.Fatalf("accepted a split of %d elements at %d and %d with %d roots", elements, last, first, primaries+residuals)
		}
	})
}

// Lines are cut where they end, whatever pieces they come in; the tail is kept.
func FuzzLines(f *testing.F) {
	f.Add([]byte("one\ntwo\r\nthree"), 2)
	f.Fuzz(func(t *testing.T, text []byte, piece int) {
		if piece <= 0 {
			return
		}
		l := &lines{log: slog.New(slog.DiscardHandler)}
		for rest := text; len(rest) > 0; {
			n := min(piece, len(rest))
			if w, err := l.Write(rest[:n]); w != n || err != nil {
				t.Fatal(w, err)
			}
			rest = rest[n:]
		}
		l.flush()
		if len(l.partial) > 0 || len(l.tail) != min(len(text), stderrTail) {
			t.Fatalf("%d bytes left over, %d kept of %d", len(l.partial), len(l.tail), len(text))
		}
	})
}
