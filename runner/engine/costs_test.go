package engine

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/stores"
)

// A step costs what it touches, not what is stored: each of these may cost twice as much
// among very many as among a thousand.
var costs = []struct {
	name string
	many int
	// make prepares among n, and returns the step. It is called many times.
	make func(t *testing.T, among shards, n int) func(i int)
}{
	{"a watermark advances above buffered keys", 1_000_000, func(t *testing.T, among shards, n int) func(int) {
		s := among.idle(t, n)
		return func(i int) {
			s.wm = int64(i)
			a := core.GroupShard{Event: s.wm, Output: s.wm}
			r := s.tr.start(t.Context(), a, s.store.reader)
			if panes, err := r.run(nil); err != nil || len(panes) > 0 {
				t.Fatalf("%d panes, %v", len(panes), err)
			}
			r.settle()
		}
	}},
	{"a window fires among idle ones", 1_000_000, func(t *testing.T, among shards, n int) func(int) {
		s := among.idle(t, n)
		base := s.wm
		return func(i int) {
			w := coders.IntervalWindow{Start: base + int64(i)*10, End: base + int64(i)*10 + 10}
			if panes := s.run(kv(w.Start, "key", "value", w)); len(panes) > 0 {
				t.Fatalf("panes %q", panes)
			}
			s.wm = w.End
			if panes := s.run(); len(panes) != 1 {
				t.Fatalf("panes %q, want one", panes)
			}
		}
	}},
	{"a bundle touches ten cells", 100_000, func(t *testing.T, among shards, n int) func(int) {
		keys := make([]*fnpb.StateKey, n)
		for i := range keys {
			keys[i] = &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{
				TransformId: "t", UserStateId: "bag", Key: fmt.Appendf(nil, "key%06d", i)}}}
		}
		bundle := stateBundles(t)
		touch := func(b *bundleState, k *fnpb.StateKey) {
			if _, _, err := b.Get(context.Background(), k, nil); err != nil {
				t.Fatal(err)
			}
			if err := b.Clear(context.Background(), k); err != nil {
				t.Fatal(err)
			}
			if err := b.Append(context.Background(), k, []byte("12345678")); err != nil {
				t.Fatal(err)
			}
		}
		bundle(func(b *bundleState) {
			for _, k := range keys {
				touch(b, k)
			}
		})
		return func(i int) {
			bundle(func(b *bundleState) {
				for j := range 10 {
					touch(b, keys[(i*7919+j*104729)%n])
				}
			})
		}
	}},
	{"an entry is appended to an ordered list", 100_000, func(t *testing.T, among shards, n int) func(int) {
		bundle := stateBundles(t)
		add := func(b *bundleState, at int64) {
			entry := coders.AppendVarint(nil, at)
			entry = append(coders.AppendVarint(entry, 3), "abc"...)
			if err := b.Append(context.Background(), listKey("key", everySort), entry); err != nil {
				t.Fatal(err)
			}
		}
		bundle(func(b *bundleState) {
			for i := range n {
				add(b, int64(i))
			}
		})
		return func(i int) {
			bundle(func(b *bundleState) { add(b, int64(n+i)) })
		}
	}},
}

// shards are groupings by the number of their keys. They take long to make.
type shards map[int]*triggerShard

// idle is a grouping with n keys in windows that are far from their end.
func (all shards) idle(t *testing.T, n int) *triggerShard {
	if s := all[n]; s != nil {
		s.t = t
		return s
	}
	s := newTriggerShard(t, "ikv", &pipepb.WindowingStrategy{OutputTime: pipepb.OutputTime_END_OF_WINDOW, AccumulationMode: pipepb.AccumulationMode_DISCARDING})
	s.wm, s.out = 0, 0
	const far = int64(1) << 40
	var elements [][]byte
	for i := range n {
		elements = append(elements, kv(far, fmt.Sprintf("%07d", i), "value", coders.IntervalWindow{Start: far, End: far + int64(i)}))
	}
	for part := range slices.Chunk(elements, 10_000) {
		if panes := s.run(part...); len(panes) > 0 {
			t.Fatalf("%d panes", len(panes))
		}
	}
	all[n] = s
	return s
}

// stateBundles returns what runs a bundle on a shard over a real store, and writes it.
func stateBundles(t *testing.T) func(func(*bundleState)) {
	st := statefulStage(t)
	open, err := stores.Opener("pebble")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	js := &jobStore{open: func() (statebackend.Store, error) {
		return open(dir, statebackend.Options{CacheBytes: 64 << 20, WriteBufferBytes: 4 << 20, Ephemeral: true})
	}}
	t.Cleanup(func() {
		if err := js.close(); err != nil {
			t.Error(err)
		}
	})
	shard := st.shards[0]
	return func(run func(*bundleState)) {
		b := newBundleState(st, shard, js.reader)
		run(b)
		shard.apply(b.staged())
		if _, err := js.write([]*shardState{shard}, []*layer{shard.freeze()}, nil); err != nil {
			t.Fatal(err)
		}
		shard.thaw()
	}
}

func TestCostsDoNotGrowWithWhatIsStored(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("takes seconds, and the race detector many")
	}
	all := shards{}
	const few = 1000
	for _, c := range costs {
		t.Run(c.name, func(t *testing.T) {
			small, large := c.make(t, all, few), c.make(t, all, c.many)
			// Several times: what else the machine does is no fault of ours.
			var median [2]time.Duration
			for try := range 3 {
				// Alternating, so that it hits both.
				var took [2][]time.Duration
				for i := range 301 {
					for k, step := range []func(int){small, large} {
						began := time.Now()
						step(301*try + i)
						took[k] = append(took[k], time.Since(began))
					}
				}
				for k := range took {
					slices.Sort(took[k])
					median[k] = took[k][len(took[k])/2]
				}
				t.Logf("among %d: %v; among %d: %v", few, median[0], c.many, median[1])
				if median[1] <= 2*median[0] {
					return
				}
			}
			t.Errorf("among %d it takes %v, among %d %v: more than twice", c.many, median[1], few, median[0])
		})
	}
}
