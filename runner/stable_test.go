package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/internal/testkit"
	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

// attempts are what a DoFn gets in each bundle, which is another one for each attempt.
type attempts struct {
	mu    sync.Mutex
	order []string
	seen  map[string][]string
}

func (a *attempts) add(bundle, element string) (attempt int, elements int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen == nil {
		a.seen = make(map[string][]string)
	}
	if a.seen[bundle] == nil {
		a.order = append(a.order, bundle)
	}
	a.seen[bundle] = append(a.seen[bundle], element)
	return slices.Index(a.order, bundle) + 1, len(a.seen[bundle])
}

func (a *attempts) all() (all [][]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range a.order {
		all = append(all, a.seen[b])
	}
	return all
}

// TestStableInput: a DoFn that requires stable input gets the same elements in the same order
// when it is tried again, be it that it has failed or that the machine has: they are durable
// before it sees the first. A DoFn before it gives each element another mark whenever it
// runs. Without the requirement the marks after a crash are new ones, since epochs are an
// hour apart here.
func TestStableInput(t *testing.T) {
	for _, stable := range []bool{true, false} {
		t.Run(fmt.Sprintf("required=%v", stable), func(t *testing.T) {
			dir, disk := t.TempDir(), memstore.NewDisk(nil)
			seen := &attempts{}
			var marks, boots atomic.Int64
			var crashed atomic.Pointer[memstore.Disk]
			stop := make(chan struct{})
			const elements = 5
			sdk := &testkit.SDK{DoFns: map[string]testkit.DoFn{
				"mark": {Process: func(c *testkit.Call, e testkit.Element) error {
					e.Value = testkit.Str(fmt.Sprintf("%s#%d", testkit.Strs(e.Value)[0], marks.Add(1)))
					return c.Emit("", e)
				}},
				"effect": {Process: func(c *testkit.Call, e testkit.Element) error {
					attempt, n := seen.add(fmt.Sprint(boots.Load(), c.Bundle()), testkit.Strs(e.Value)[0])
					switch {
					case attempt == 1 && n == 3:
						return errors.New("the outside can't be reached")
					case attempt == 2 && n == elements:
						crashed.Store(disk.Crash(nil))
						<-stop
						return errors.New("the machine has stopped")
					}
					return nil
				}},
			}}
			b := testkit.NewScript(sdk.Start(t))
			b.TestStream("~in:kv<string,string>", testkit.Elements(
				testkit.At(5, "k", "v"), testkit.At(3, "k", "w"), testkit.At(4, "l", "x"), testkit.At(2, "m", "y"), testkit.At(1, "m", "z")))
			b.ParDo("mark", "in", nil, "~marked:kv<string,string>")
			b.ParDo("effect", "marked", func(p *pipepb.ParDoPayload) { p.RequiresStableInput = stable })
			if stable {
				b.P.Requirements = append(b.P.Requirements, "beam:requirement:pardo:stable_input:v1")
			} else {
				// A stage of its own all the same.
				b.Add("apart", "beam:transform:reshuffle:v1", "", nil, []string{"marked"}, []string{"~apart:kv<string,string>"})
				b.P.Components.Transforms["effect"].Inputs["i0"] = "apart"
			}
			cfg := Config{DataDir: dir, OpenStore: disk.Open, Engine: engine.Config{Core: core.Config{EpochInterval: time.Hour, Slots: 1}}}
			first, end := startServerWith(t, cfg)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			id, err := testkit.Submit(ctx, first.conn, "stable", b.P, nil)
			if err != nil {
				t.Fatal(err)
			}
			for crashed.Load() == nil {
				if time.Sleep(time.Millisecond); ctx.Err() != nil {
					t.Fatalf("no second attempt, seen is %v", seen.all())
				}
			}
			end()
			close(stop)
			boots.Add(1) // bundles are numbered from where the last epoch was
			cfg.OpenStore = crashed.Load().Open
			second, _ := startServerWith(t, cfg)
			// It goes on by itself.
			for testkit.Await(ctx, second.conn, id) != nil {
				if time.Sleep(time.Millisecond); ctx.Err() != nil {
					t.Fatalf("it doesn't go on, seen is %v", seen.all())
				}
			}
			all := seen.all()
			if len(all) != 3 || len(all[0]) != 3 || len(all[1]) != elements {
				t.Fatalf("attempts %v, want three", all)
			}
			if !slices.Equal(all[0], all[1][:3]) {
				t.Errorf("the first attempt saw %v, the second %v", all[0], all[1])
			}
			if same := slices.Equal(all[1], all[2]); same != stable {
				t.Errorf("before the crash it saw %v, behind it %v", all[1], all[2])
			}
		})
	}
}
