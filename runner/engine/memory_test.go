package engine

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"pgregory.net/rapid"
)

// spillFiles lists what lies below a directory.
func spillFiles(t fataler, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != dir {
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return all
}

// TestABudgetChangesNothing: whatever the budget, readers get the same elements.
func TestABudgetChangesNothing(t *testing.T) {
	dir := t.TempDir()
	inputs := []*graph.Input{
		{}, {Keyed: true},
		{Keyed: true, Grouping: &graph.Grouping{Strategy: &pipepb.WindowingStrategy{}}},
	}
	rapid.Check(t, func(t *rapid.T) {
		in := *inputs[rapid.IntRange(0, 2).Draw(t, "input")]
		n := rapid.IntRange(0, 3000).Draw(t, "elements")
		size := rapid.IntRange(0, 300).Draw(t, "size")
		keys := rapid.IntRange(1, 50).Draw(t, "keys")
		chunk := rapid.IntRange(1, 5000).Draw(t, "chunk")
		budget := int64(1) << rapid.IntRange(10, 20).Draw(t, "budget")
		var data []byte
		want := map[string][]string{}
		for i := range n {
			k, v := fmt.Sprint("k", i*i%keys), fmt.Sprintf("%0*d", size, i)
			data = append(data, kv(int64(i), k, v)...)
			want[k] = append(want[k], v)
		}
		var gotMu sync.Mutex
		got := map[string][]string{}
		s := &script{}
		var j *Job
		s.stages = map[string]func(context.Context, *Bundle) (*Result, error){
			"s01": func(_ context.Context, b *Bundle) (*Result, error) {
				for c := range slices.Chunk(data, chunk) {
					if err := b.Output("out", c); err != nil {
						return nil, err
					}
				}
				return &Result{}, nil
			},
			"s02": func(_ context.Context, b *Bundle) (*Result, error) {
				gotMu.Lock()
				defer gotMu.Unlock()
				for data, err := range b.Input {
					if err != nil {
						return nil, err
					}
					if in.Grouping != nil {
						for k, v := range decodeGroups(t, j.stages[2].grouper, data) {
							got[k] = append(got[k], v...)
						}
						continue
					}
					var e coders.Element
					for len(data) > 0 {
						n, err := j.stages[2].input.Next(data, &e)
						if err != nil {
							return nil, err
						}
						key, value := e.Key, e.Value
						k := readStr(&key)
						got[k] = append(got[k], readStr(&value))
						data = data[n:]
					}
				}
				return &Result{}, nil
			},
		}
		plan := testPlan(&in)
		plan.Stages[2].Stateful = in.Keyed && in.Grouping == nil // so that its shards keep their order
		j, err := New(Config{
			Workers: s, Core: core.Config{BundleElements: 500}, MemoryBytes: budget, SpillDir: filepath.Join(dir, "job"),
		}, &JobInfo{ID: "job", Log: slog.New(slog.DiscardHandler)}, plan)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("%d keys, want %d", len(got), len(want))
		}
		for k, v := range want {
			g := got[k]
			if !in.Keyed {
				slices.Sort(g)
				slices.Sort(v) // bundles of an unkeyed stage run side by side
			}
			if !slices.Equal(g, v) {
				t.Fatalf("key %s: %d values, want %d, or in another order", k, len(g), len(v))
			}
		}
		if used := j.cfg.Memory.Used(); used != 0 {
			t.Fatalf("%d bytes are still on the books", used)
		}
		if u := j.Memory(); budget <= 1<<12 && len(data) > 1<<16 && u.Written == 0 {
			t.Fatalf("nothing was spilled: %+v", u)
		}
		if left := spillFiles(t, dir); len(left) > 0 {
			t.Fatalf("files are left: %v", left)
		}
	})
}

// decodeGroups decodes rendered groups of the global window.
func decodeGroups(t fataler, g *grouper, data []byte) map[string][]string {
	t.Helper()
	got := map[string][]string{}
	for len(data) > 0 {
		data = data[12:]
		_, n, err := coders.ReadPane(data)
		if err != nil {
			t.Fatalf("pane: %v", err)
		}
		data = data[n:]
		key := readStr(&data)
		count := int(data[0])<<24 | int(data[1])<<16 | int(data[2])<<8 | int(data[3])
		data = data[4:]
		for range count {
			got[key] = append(got[key], readStr(&data))
		}
	}
	return got
}
