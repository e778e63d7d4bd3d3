package engine

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

// countedStore counts reads.
type countedStore struct {
	statebackend.Store
	gets, multiGets atomic.Int64
}

func (s *countedStore) Get(dst, key []byte) ([]byte, bool, error) {
	s.gets.Add(1)
	return s.Store.Get(dst, key)
}

func (s *countedStore) MultiGet(keys [][]byte) ([][]byte, error) {
	s.multiGets.Add(1)
	return s.Store.MultiGet(keys)
}

func newCountedStore(t *testing.T) *countedStore {
	t.Helper()
	st, err := memstore.NewDisk(nil).Open("job", statebackend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &countedStore{Store: st}
}

// TestReadAhead: what a bundle's elements ask for is read together, and is what it is in whichever
// layer.
func TestReadAhead(t *testing.T) {
	mem := newMemory(NewBudget(0))
	plan := counterPlan(t, nil)
	stage, err := newStageRun(plan, plan.Stages[1], core.Config{Shards: 1}, limits{blockBytes: 100, blockElements: 10}, &keeper{mem: mem})
	if err != nil {
		t.Fatal(err)
	}
	shard := stage.shards[0]
	shard.kept.limit = 1 << 20
	counted := newCountedStore(t)
	js := &jobStore{open: func() (statebackend.Store, error) { return counted, nil }}
	defer js.close()
	name := func(i int) string { return fmt.Sprintf("key%04d", i) }
	stateKey := func(i int) *fnpb.StateKey {
		return &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{
			TransformId: "t", UserStateId: "count", Key: str(name(i))}}}
	}
	want := make(map[int]string)
	set := func(from, to int, value string) {
		t.Helper()
		b := newBundleState(stage, shard, js.reader)
		for i := from; i < to; i++ {
			if err := b.Clear(t.Context(), stateKey(i)); err != nil {
				t.Fatal(err)
			}
			if err := b.Append(t.Context(), stateKey(i), []byte(value)); err != nil {
				t.Fatal(err)
			}
			want[i] = value
		}
		shard.apply(b.staged())
	}
	epoch := func() {
		t.Helper()
		if _, err := js.write(stage.shards, []*layer{shard.freeze()}, nil); err != nil {
			t.Fatal(err)
		}
	}
	set(0, 1000, "stored")
	epoch()
	shard.thaw()
	shard.kept.cells, shard.kept.bytes = nil, 0
	mem.kinds[memClean].Store(0)
	set(100, 200, "frozen")
	set(150, 160, "")
	epoch() // written, but not thawed
	set(200, 300, "dirty")

	const elements = 1500 // of which 500 have none
	var data []byte
	for i := range elements {
		data = append(data, kv(0, name(i), "")...)
		if i%10 == 0 {
			data = append(data, kv(0, name(i), "")...)
		}
	}
	scan, err := coders.CompileWindowed(plan.Coders, "wkv")
	if err != nil {
		t.Fatal(err)
	}
	play := func() (n int) {
		t.Helper()
		b := newBundleState(stage, shard, js.reader)
		var e coders.Element
		for part, err := range b.readAhead(func(yield func([]byte, error) bool) { yield(data, nil) }) {
			if err != nil {
				t.Fatal(err)
			}
			for len(part) > 0 {
				size, err := scan.Next(part, &e)
				if err != nil {
					t.Fatal(err)
				}
				part = part[size:]
				var i int
				if _, err := fmt.Sscanf(string(e.Key[1:]), "key%d", &i); err != nil {
					t.Fatal(err)
				}
				if got := readAll(t, b, stateKey(i)); got != want[i] {
					t.Fatalf("%s is %q, want %q", e.Key, got, want[i])
				}
				n++
			}
		}
		b.learnHabits(elements)
		b.letGo()
		if n := mem.kinds[memClean].Load(); n != shard.kept.bytes {
			t.Errorf("%d bytes on the books, %d are remembered", n, shard.kept.bytes)
		}
		return n
	}
	if n := play(); n != elements+elements/10 || counted.multiGets.Load() != 0 {
		t.Errorf("%d elements came, %d times many were read, before anybody asked", n, counted.multiGets.Load())
	}
	if !shard.habits.asks[0] {
		t.Fatal("the bundle has read a value for each element, which was not noted")
	}
	before := counted.gets.Load()
	if n := play(); n != elements+elements/10 {
		t.Errorf("%d elements came", n)
	}
	if n := counted.gets.Load() - before; n > elements/10 || counted.multiGets.Load() == 0 {
		t.Errorf("%d values were read one by one, %d times many", n, counted.multiGets.Load())
	}
	// Too few to tell.
	b := newBundleState(stage, shard, js.reader)
	b.learnHabits(aheadLeast - 1)
	if !shard.habits.asks[0] {
		t.Error("a small bundle has changed the shard's habits")
	}
	b.learnHabits(elements)
	if shard.habits.asks[0] {
		t.Error("a bundle that reads nothing has not changed the shard's habits")
	}
}

// TestReadAheadInAJob: a job counts its keys, whose numbers the store has.
func TestReadAheadInAJob(t *testing.T) {
	const keys, rounds = 3000, 4
	var events []graph.TestEvent
	for range rounds {
		for part := range 3 {
			var data []byte
			for i := range keys / 3 {
				data = append(data, kv(0, fmt.Sprintf("key%04d", part*keys/3+i), "")...)
			}
			events = append(events, graph.TestEvent{Elements: [][]byte{data}})
		}
	}
	plan := counterPlan(t, events)
	c := &counter{}
	var err error
	if c.scan, err = coders.CompileWindowed(plan.Coders, "wkv"); err != nil {
		t.Fatal(err)
	}
	counted := newCountedStore(t)
	var counts atomic.Int64
	s := &script{stages: map[string]func(context.Context, *Bundle) (*Result, error){"s01": func(ctx context.Context, b *Bundle) (*Result, error) {
		b.State = countSum{b.State, &counts}
		return c.run(ctx, b)
	}}}
	j, err := New(Config{
		Workers: s, MemoryBytes: 1 << 20, OpenStore: func() (statebackend.Store, error) { return counted, nil },
		Core: core.Config{Shards: 2, EpochBytes: 1, Ephemeral: true},
	}, &JobInfo{ID: "job", Log: slog.New(slog.DiscardHandler)}, plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t, j); err != nil {
		t.Fatal(err)
	}
	if got, want := counts.Load(), int64(keys*rounds*(rounds+1)/2); got != want {
		t.Errorf("the numbers add up to %d, want %d", got, want)
	}
	if counted.multiGets.Load() == 0 {
		t.Error("nothing was read ahead")
	}
}

// countSum adds up the last bytes of what is appended.
type countSum struct {
	State
	sum *atomic.Int64
}

func (s countSum) Append(ctx context.Context, key *fnpb.StateKey, data []byte) error {
	s.sum.Add(int64(data[len(data)-1]))
	return s.State.Append(ctx, key, data)
}
