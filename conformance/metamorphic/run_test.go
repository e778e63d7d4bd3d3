package metamorphic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"pgregory.net/rapid"

	"github.com/summerbeam/summerbeam/fnapi/inproc"
	"github.com/summerbeam/summerbeam/runner"
	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
	"github.com/summerbeam/summerbeam/statebackend/stores"
)

// way is how a pipeline is run: what must not make a difference.
type way struct {
	// served: by a server, with workers over gRPC; else in this process.
	served         bool
	store          string
	durable        bool
	shards, slots  int
	bundleElements int64
	// crashes are after how many operations of its store each run of the job but the last
	// ends, with what a power cut would leave of the store. The job is durable then.
	crashes []int
	// split asks for splits of bundles that are slowed down so that there is time for it.
	split bool
}

// start is the processing time (ms) at which jobs begin.
const start = 1000

func drawWay(t *rapid.T) way {
	w := way{
		served:         rapid.IntRange(0, 7).Draw(t, "served") == 0,
		store:          rapid.SampledFrom([]string{stores.Pebble, stores.Default()}).Draw(t, "store"),
		durable:        rapid.IntRange(0, 2).Draw(t, "durable") == 0,
		shards:         rapid.IntRange(1, 5).Draw(t, "shards"),
		slots:          rapid.IntRange(1, 4).Draw(t, "slots"),
		bundleElements: rapid.SampledFrom([]int64{1, 2, 10_000}).Draw(t, "bundle elements"),
		split:          rapid.IntRange(0, 5).Draw(t, "split") == 0,
	}
	if w.durable && !w.served && rapid.Bool().Draw(t, "crash") {
		w.crashes = rapid.SliceOfN(rapid.IntRange(1, 60), 1, 3).Draw(t, "crashes")
	}
	return w
}

// run runs the program and returns what was seen.
func (w way) run(s *site, p *program) (_ *seen, err error) {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	env := s.workers
	if !w.served {
		if env, err = graphx.CreateEnvironment(ctx, inproc.EnvironmentURN, func(context.Context) string { return "" }); err != nil {
			return nil, err
		}
		env.Payload, env.Dependencies = nil, nil
	}
	id := runs.begin()
	pause := time.Duration(0)
	if w.split {
		pause = 2 * time.Millisecond
	}
	pb, err := p.pipeline(env, id, pause)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("metamorphic-%d", id)
	if w.served {
		err = w.submit(ctx, s, name, pb)
	} else {
		err = w.embedded(ctx, name, pb)
	}
	return runs.end(id), err
}

func (w way) embedded(ctx context.Context, name string, pb *pipepb.Pipeline) error {
	cfg := runner.Config{
		Store: w.store, Log: slog.New(slog.DiscardHandler),
		Engine: engine.Config{Core: core.Config{
			Shards: w.shards, Slots: w.slots, BundleElements: w.bundleElements,
			ForceSplits: w.split, SplitAfter: time.Millisecond,
			StartMillis: start, EpochInterval: time.Millisecond,
		}},
	}
	if w.durable {
		dir, err := os.MkdirTemp("", "metamorphic-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		cfg.DataDir = dir
	}
	if len(w.crashes) > 0 {
		return w.crashing(ctx, cfg, name, pb)
	}
	_, err := runner.RunEmbedded(ctx, cfg, name, pb, nil, inproc.Workers{})
	return err
}

var errCrash = errors.New("the power is off")

// crashing runs a job again and again, each time on what a crash has left of its store.
func (w way) crashing(ctx context.Context, cfg runner.Config, name string, pb *pipepb.Pipeline) error {
	var left atomic.Int64
	disk := memstore.NewDisk(func(string) error {
		if left.Add(-1) < 0 {
			return errCrash
		}
		return nil
	})
	for i, n := range append(slices.Clone(w.crashes), math.MaxInt64) {
		left.Store(int64(n))
		cfg.OpenStore = disk.Open
		_, err := runner.RunEmbedded(ctx, cfg, name, pb, nil, inproc.Workers{})
		if err == nil || left.Load() >= 0 {
			return err
		}
		disk = disk.Crash(rand.New(rand.NewPCG(uint64(n), uint64(i))))
	}
	return errors.New("BUG: the last run has crashed")
}
