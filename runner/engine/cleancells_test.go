package engine

import (
	"context"
	"fmt"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"pgregory.net/rapid"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

// TestReadersThatOverlapEpochs: a reader keeps the layers of the moment it began
// (groupings do so for long). Whatever epochs do meanwhile, it reads the same, and
// what it learns from the store must not deceive those that come later.
func TestReadersThatOverlapEpochs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		js := &jobStore{open: func() (statebackend.Store, error) { return memstore.NewDisk(nil).Open("job", statebackend.Options{}) }}
		defer js.close()
		mem := newMemory(NewBudget(1 << 20))
		shard := newShardState(mem, rapid.SampledFrom([]int64{0, 300, 1 << 20}).Draw(t, "limit"))
		var frozen *layer
		keys := []string{"a", "b", "c"}
		model := map[string]string{}
		type overlap struct {
			r    reader
			want map[string]string
		}
		var open []overlap
		whole := map[string]bool{"b": true, "c": true}
		check := func(o overlap) {
			for _, k := range keys {
				read := o.r.bag
				if whole[k] {
					read = o.r.value
				}
				got, err := read(k)
				if err != nil {
					t.Fatalf("%v", err)
				}
				if string(got) != o.want[k] {
					t.Fatalf("%s reads %q, want %q", k, got, o.want[k])
				}
			}
		}
		now := func() overlap {
			v := shard.views.Load()
			o := overlap{reader{layers: []*layer{v.dirty}, store: js.reader, shard: shard}, map[string]string{}}
			if v.frozen != nil {
				o.r.layers = append(o.r.layers, v.frozen)
			}
			for k, v := range model {
				o.want[k] = v
			}
			return o
		}
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"apply", "open", "freeze", "write", "thaw", "check"}).Draw(t, "step") {
			case "apply":
				// No bundle of the shard runs beside another, so no reader is open.
				open = nil
				staged := newLayer(0)
				k := rapid.SampledFrom(keys).Draw(t, "key")
				if whole[k] {
					v := value{fresh: model[k] == "", data: []byte(rapid.SampledFrom([]string{"", fmt.Sprint(i)}).Draw(t, "value"))}
					staged.setValue(k, v)
					model[k] = string(v.data)
					shard.apply(staged)
					continue
				}
				c := staged.cell(k)
				if rapid.Bool().Draw(t, "clear") {
					c.clear()
					model[k] = ""
				}
				if rapid.Bool().Draw(t, "append") {
					c.bag = append(c.bag, fmt.Sprintf("%d,", i)...)
					model[k] += fmt.Sprintf("%d,", i)
				}
				shard.apply(staged)
			case "open":
				open = append(open, now())
			case "freeze":
				if frozen == nil {
					frozen = shard.freeze()
				}
			case "write", "thaw":
				if frozen == nil {
					continue
				}
				if _, err := js.write([]*shardState{shard}, []*layer{frozen}, nil); err != nil {
					t.Fatalf("%v", err)
				}
				if rapid.Bool().Draw(t, "thaw") {
					shard.thaw()
					frozen = nil
				}
			case "check":
				for _, o := range open {
					check(o)
				}
			}
		}
		for _, o := range open {
			check(o)
		}
		check(now())
		if n := shard.kept.bytes; n > max(shard.kept.limit, 0) || n != mem.kinds[memClean].Load() {
			t.Fatalf("%d bytes remembered, %d on the books, limit %d", n, mem.kinds[memClean].Load(), shard.kept.limit)
		}
		if shard.freeze(); frozen != nil {
			return
		}
		shard.thaw()
		if n := mem.kinds[memState].Load(); n != 0 {
			t.Fatalf("%d bytes of state on the books, all of it is stored", n)
		}
	})
}

// BenchmarkBagState is a bag read, cleared and written, for keys that are in the store.
func BenchmarkBagState(b *testing.B) {
	st := statefulStage(b)
	js := &jobStore{open: func() (statebackend.Store, error) { return memstore.NewDisk(nil).Open("job", statebackend.Options{}) }}
	defer js.close()
	shard := st.shards[0]
	shard.kept.limit = 64 << 20
	const n = 10_000
	keys := make([]*fnpb.StateKey, n)
	for i := range keys {
		keys[i] = &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{
			TransformId: "t", UserStateId: "bag", Key: fmt.Appendf(nil, "key%06d", i)}}}
	}
	bundle := func() {
		bs := newBundleState(st, shard, js.reader)
		for _, k := range keys {
			if _, _, err := bs.Get(context.Background(), k, nil); err != nil {
				b.Fatal(err)
			}
			if err := bs.Clear(context.Background(), k); err != nil {
				b.Fatal(err)
			}
			if err := bs.Append(context.Background(), k, []byte("12345678")); err != nil {
				b.Fatal(err)
			}
		}
		shard.apply(bs.staged())
	}
	b.ReportAllocs()
	for b.Loop() {
		bundle()
		if _, err := js.write([]*shardState{shard}, []*layer{shard.freeze()}, nil); err != nil {
			b.Fatal(err)
		}
		shard.thaw()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
}
