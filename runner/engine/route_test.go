package engine

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"pgregory.net/rapid"
)

func testRoutes(t fataler, readers ...*graph.Stage) *outputRoute {
	t.Helper()
	src := &graph.Stage{Outputs: []*graph.Output{{Collection: "c", Sink: "sink", Coder: "wkv"}}}
	plan := &graph.Plan{Coders: testCoders(), Stages: []*graph.Stage{src}}
	for i, r := range readers {
		plan.Stages = append(plan.Stages, r)
		src.Outputs[0].To = append(src.Outputs[0].To, graph.Target{Stage: i + 1, SideInput: -1})
	}
	r, err := compileRoutes(plan, src, core.Config{Shards: 4})
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	return &r.outputs[0]
}

// TestRouteKeepsEverything: however the bytes are cut into chunks, each reader gets
// each element once, and a keyed reader gets a key's elements in one shard in order.
func TestRouteKeepsEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := testRoutes(t, &graph.Stage{Input: &graph.Input{}}, &graph.Stage{Input: &graph.Input{Keyed: true}}, &graph.Stage{Splittable: true, Input: &graph.Input{}})
		lim := limits{blockBytes: rapid.IntRange(1, 200).Draw(t, "bytes"), blockElements: rapid.Int64Range(1, 10).Draw(t, "elements")}
		n := rapid.IntRange(0, 100).Draw(t, "n")
		var data []byte
		for i := range n {
			data = append(data, kv(int64(1000+i), fmt.Sprint("k", i%7), fmt.Sprint(i))...)
		}
		var chunks [][]byte
		for len(data) > 0 {
			c := rapid.IntRange(1, len(data)).Draw(t, "chunk")
			chunks = append(chunks, slices.Clone(data[:c]))
			data = data[c:]
		}
		out, err := routeOutput(nil, 0, r, chunks, lim)
		if err != nil {
			t.Fatal(err)
		}
		shardOfKey := map[string]int{}
		lastOfKey := map[string]int{}
		seen := make([]map[string]bool, 3)
		for i := range seen {
			seen[i] = map[string]bool{}
		}
		for _, o := range out {
			count, hold := int64(0), int64(1<<62)
			var e coders.Element
			b, _ := payloadBytes(o.Block.Payload)
			for len(b) > 0 {
				m, err := r.scan.Next(b, &e)
				if err != nil {
					t.Fatal(err)
				}
				b = b[m:]
				count++
				hold = min(hold, e.Timestamp)
				key, value := string(e.Key), string(e.Value)
				if seen[o.Target][value] {
					t.Fatalf("reader %d got %q twice", o.Target, value)
				}
				seen[o.Target][value] = true
				if o.Target == 1 {
					if s, ok := shardOfKey[key]; ok && s != o.Shard {
						t.Fatalf("key %q in shards %d and %d", key, s, o.Shard)
					}
					shardOfKey[key] = o.Shard
					if int(e.Timestamp) < lastOfKey[key] {
						t.Fatalf("key %q out of order", key)
					}
					lastOfKey[key] = int(e.Timestamp)
				}
			}
			if count != o.Block.Count || hold != o.Block.Hold {
				t.Fatalf("block says %d elements from %d, has %d from %d", o.Block.Count, o.Block.Hold, count, hold)
			}
			if count > lim.blockElements || (o.Target == 2 && count != 1) {
				t.Fatalf("reader %d: block of %d elements", o.Target, count)
			}
		}
		for i := range seen {
			if len(seen[i]) != n {
				t.Fatalf("reader %d got %d of %d elements", i, len(seen[i]), n)
			}
		}
	})
}

func TestRouteDataThatLies(t *testing.T) {
	r := testRoutes(t, &graph.Stage{Input: &graph.Input{}})
	good := kv(1, "k", "v")
	for name, chunks := range map[string][][]byte{
		"cut off":        {good, good[:len(good)-1]},
		"a huge length":  {append(slices.Clone(good[:len(good)-4]), 0xff, 0xff, 0xff, 0xff, 0x0f)},
		"length overrun": {append(slices.Clone(good[:len(good)-4]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := routeOutput(nil, 0, r, chunks, limits{1 << 20, 100}); !errors.Is(err, errCoder) {
				t.Errorf("error %v, want errCoder", err)
			}
		})
	}
}

// TestRouteSpreadsSmallOutputs: eight elements must not end up in one block, or one
// slot would do all the work behind a Reshuffle.
func TestRouteSpreadsSmallOutputs(t *testing.T) {
	r := testRoutes(t, &graph.Stage{Input: &graph.Input{}})
	var data []byte
	for i := range 8 {
		data = append(data, kv(1, "k", fmt.Sprint(i))...)
	}
	out, err := routeOutput(nil, 0, r, [][]byte{data}, limits{1 << 20, 1000})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 4 {
		t.Errorf("%d blocks for 8 elements, want at least 4", len(out))
	}
}

// TestRouteAllocatesPerBlock: routing must not allocate for each element.
func TestRouteAllocatesPerBlock(t *testing.T) {
	r := testRoutes(t, &graph.Stage{Input: &graph.Input{Keyed: true}})
	const n = 10_000
	var data []byte
	for i := range n {
		data = append(data, kv(1, fmt.Sprint("key", i), "a value of about thirty bytes.")...)
	}
	var out []core.Routed
	allocs := testing.AllocsPerRun(5, func() {
		out, _ = routeOutput(out[:0], 0, r, [][]byte{data}, limits{256 << 10, 1 << 30})
	})
	if allocs > n/50 {
		t.Errorf("%.0f allocations for %d elements", allocs, n)
	}
}

func BenchmarkRoute(b *testing.B) {
	for _, keyed := range []bool{false, true} {
		b.Run(fmt.Sprintf("keyed=%v", keyed), func(b *testing.B) {
			r := testRoutes(b, &graph.Stage{Input: &graph.Input{Keyed: keyed}})
			var data []byte
			const n = 10_000
			for i := range n {
				data = append(data, kv(1, fmt.Sprintf("key%07d", i), string(make([]byte, 90)))...)
			}
			var out []core.Routed
			b.ReportAllocs()
			for b.Loop() {
				out, _ = routeOutput(out[:0], 0, r, [][]byte{data}, limits{256 << 10, 1 << 30})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
		})
	}
}

func BenchmarkGroup(b *testing.B) {
	g := testGrouper(b, "wkv", nil, limits{256 << 10, 10_000})
	const n = 100_000
	var blocks []core.Block
	for i := 0; i < n; i += 1000 {
		var els [][]byte
		for j := range 1000 {
			els = append(els, kv(1, fmt.Sprintf("key%07d", (i+j)*7919%10_000), string(make([]byte, 90))))
		}
		blocks = append(blocks, block(els...))
	}
	b.ReportAllocs()
	for b.Loop() {
		out, err := g.group(nil, blocks)
		if err != nil {
			b.Fatal(err)
		}
		for range render(out, nil) {
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
}
