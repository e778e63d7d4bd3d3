package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/stores"
	"google.golang.org/protobuf/proto"
)

// counterPlan is a TestStream of KVs and a stage that keeps a number for each key.
func counterPlan(tb testing.TB, events []graph.TestEvent) *graph.Plan {
	tb.Helper()
	payload, err := proto.Marshal(&pipepb.ParDoPayload{StateSpecs: map[string]*pipepb.StateSpec{"count": {
		Spec: &pipepb.StateSpec_ReadModifyWriteSpec{ReadModifyWriteSpec: &pipepb.ReadModifyWriteStateSpec{CoderId: "bytes"}},
	}}})
	if err != nil {
		tb.Fatal(err)
	}
	return &graph.Plan{
		Pipeline: &pipepb.Pipeline{Components: &pipepb.Components{Environments: map[string]*pipepb.Environment{"go": {}}}},
		Coders:   testCoders(),
		Stages: []*graph.Stage{
			{ID: "s00", Name: "Stream", Kind: graph.TestStream, TestEvents: events,
				Outputs: []*graph.Output{{Coder: "wkv", To: []graph.Target{{Stage: 1, SideInput: -1}}}}},
			{Index: 1, ID: "s01", Name: "Count", Kind: graph.SDK, Environment: "go", Stateful: true, Transforms: []string{"t"},
				Expiry: &graph.Expiry{},
				Descriptor: &fnpb.ProcessBundleDescriptor{Id: "s01", Transforms: map[string]*pipepb.PTransform{
					"t": {Spec: &pipepb.FunctionSpec{Urn: urnParDo, Payload: payload}},
				}},
				Input: &graph.Input{Keyed: true, From: []graph.Edge{{}}, Coder: "wkv", Source: "src"}},
		},
	}
}

// counter is a DoFn that counts, as cheap as one can be: what is left is the runner's.
type counter struct {
	scan *coders.Windowed
	seen atomic.Int64
}

func (c *counter) run(ctx context.Context, b *Bundle) (*Result, error) {
	key := &fnpb.StateKey_BagUserState{TransformId: "t", UserStateId: "count"}
	sk := &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: key}}
	var e coders.Element
	var number [8]byte
	n := int64(0)
	for data, err := range b.Input {
		if err != nil {
			return nil, err
		}
		for len(data) > 0 {
			size, err := c.scan.Next(data, &e)
			if err != nil {
				return nil, err
			}
			data = data[size:]
			key.Key = e.Key
			old, _, err := b.State.Get(ctx, sk, nil)
			if err != nil {
				return nil, err
			}
			count := uint64(1)
			if len(old) == 8 {
				count += binary.BigEndian.Uint64(old)
			}
			if err := b.State.Clear(ctx, sk); err != nil {
				return nil, err
			}
			binary.BigEndian.PutUint64(number[:], count)
			if err := b.State.Append(ctx, sk, number[:]); err != nil {
				return nil, err
			}
			n++
		}
	}
	c.seen.Add(n)
	return &Result{}, nil
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkKeyedUpdate is what a read and a write of a number cost in the runner, at a million keys
// drawn uniformly: of CPU, all of the process, the stores' background work among it. It is what
// "make bench-durability" prints.
func BenchmarkKeyedUpdate(b *testing.B) {
	for _, kind := range []string{stores.Pebble, stores.RocksDB} {
		open, err := stores.Opener(kind)
		if err != nil {
			b.Log(err)
			continue
		}
		for _, durable := range []bool{false, true} {
			name := "ephemeral"
			if durable {
				name = "durable"
			}
			b.Run(kind+"/"+name, func(b *testing.B) {
				for range b.N {
					keyedUpdates(b, open, durable, 1_000_000, 1_000_000)
				}
			})
		}
	}
}

func keyedUpdates(b *testing.B, open statebackend.Opener, durable bool, keys, updates int) {
	const each = 50_000
	var events []graph.TestEvent
	x := uint64(88172645463325252)
	draw := func(i int) int {
		if i < keys {
			return i // first each of them once
		}
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		return int(x % uint64(keys))
	}
	for i := 0; i < keys+updates; {
		var data []byte
		for range each {
			data = append(data, kv(0, fmt.Sprintf("key%07d", draw(i)), "")...)
			i++
		}
		events = append(events, graph.TestEvent{Elements: [][]byte{data}})
	}
	plan := counterPlan(b, events)
	c := &counter{}
	var err error
	if c.scan, err = coders.CompileWindowed(plan.Coders, "wkv"); err != nil {
		b.Fatal(err)
	}
	var began time.Duration
	s := &script{stages: map[string]func(context.Context, *Bundle) (*Result, error){"s01": func(ctx context.Context, bundle *Bundle) (*Result, error) {
		if n := c.seen.Load(); n >= int64(keys) && began == 0 {
			began = cpuTime() // a TestStream waits for all before it goes on: nobody else is here
		}
		return c.run(ctx, bundle)
	}}}
	dir := filepath.Join(b.TempDir(), "store")
	j, err := New(Config{
		Workers: s, MemoryBytes: 128 << 20, SpillDir: filepath.Join(b.TempDir(), "spill"),
		Core: core.Config{Shards: 16, Slots: 1, Recoverable: durable, Ephemeral: !durable},
		OpenStore: func() (statebackend.Store, error) {
			return open(dir, statebackend.Options{CacheBytes: 16 << 20, WriteBufferBytes: 8 << 20, Ephemeral: !durable})
		},
	}, &JobInfo{ID: "job", Log: slog.New(slog.DiscardHandler)}, plan)
	if err != nil {
		b.Fatal(err)
	}
	if err := j.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	if c.seen.Load() != int64(keys+updates) {
		b.Fatalf("counted %d", c.seen.Load())
	}
	b.ReportMetric(float64((cpuTime()-began).Nanoseconds())/1e3/float64(updates), "cpu-us/update")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIdleTimers is the memory that timers of a million idle keys take.
func BenchmarkIdleTimers(b *testing.B) {
	for _, stored := range []bool{false, true} {
		name := "in memory"
		if stored {
			name = "in the store"
		}
		b.Run(name, func(b *testing.B) {
			open, err := stores.Opener(stores.Pebble)
			if err != nil {
				b.Fatal(err)
			}
			st, err := open(filepath.Join(b.TempDir(), "store"), statebackend.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer st.Close()
			for range b.N {
				b.ReportMetric(idleTimers(b, st, stored), "MB")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func idleTimers(b *testing.B, st statebackend.Store, stored bool) (mb float64) {
	const shards, each = 16, 1_000_000 / 16
	d := &timerStore{st: st, epoch: 1}
	before := heapBytes()
	var all []*shardTimers
	for i := range shards {
		s := newShardTimers(nil)
		if stored {
			s.stored = newStoredTimers(newJournal(3, i), func() (statebackend.Reader, error) { return st, nil }, &d.durable,
				timerShare(newMemory(NewBudget(0)), shards))
		}
		all = append(all, s)
	}
	data := make([]byte, 40)
	for i := range each {
		for k, s := range all {
			key := fmt.Appendf(nil, "key%d-%07d", k, i)
			s.set(timer{id: string(timerIDs("family", key, nil)), fire: int64(i), hold: int64(i), family: TimerFamily{"transform", "family"}, data: append([]byte(nil), data...)})
		}
		if i%1000 == 999 && stored {
			for _, s := range all {
				s.summary()
				d.commit(s)
			}
			d.write(b)
			d.heard()
		}
	}
	for _, s := range all {
		s.summary()
	}
	mb = float64(heapBytes()-before) / 1e6
	runtime.KeepAlive(all)
	return mb
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
