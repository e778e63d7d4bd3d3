package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

// smallDisk is a file system with room for left bytes. As a disk does, it writes the part that
// it has room for, and what is in a file already can be written over. mute: it can't say how much is
// left.
type smallDisk struct {
	osFiles
	left *atomic.Int64
	mute bool

	sizesMu *sync.Mutex
	sizes   map[string]int64 // by path
}

type smallFile struct {
	file
	on   smallDisk
	path string
}

func onSmallDisk(left int64, mute bool) smallDisk {
	d := smallDisk{left: new(atomic.Int64), mute: mute, sizesMu: new(sync.Mutex), sizes: make(map[string]int64)}
	d.left.Store(left)
	return d
}

func (d smallDisk) Free(string) (int64, error) {
	if d.mute {
		return 0, errors.ErrUnsupported
	}
	return d.left.Load(), nil
}

func (d smallDisk) Create(path string) (file, error) {
	if d.left.Load() <= 0 {
		return nil, &syscallError{path}
	}
	f, err := d.osFiles.Create(path)
	return smallFile{f, d, path}, err
}

func (d smallDisk) Open(path string) (file, error) {
	f, err := d.osFiles.Open(path)
	return smallFile{f, d, path}, err
}

func (d smallDisk) Remove(path string) error {
	d.resize(path, 0)
	return d.osFiles.Remove(path)
}

// resize lets a file grow to size, or as far as there is room, and returns its size.
func (d smallDisk) resize(path string, size int64) int64 {
	d.sizesMu.Lock()
	defer d.sizesMu.Unlock()
	was := d.sizes[path]
	size = min(size, was+d.left.Load())
	d.left.Add(was - size)
	d.sizes[path] = size
	return size
}

func (f smallFile) WriteAt(b []byte, off int64) (int, error) {
	f.on.sizesMu.Lock()
	size := f.on.sizes[f.path]
	f.on.sizesMu.Unlock()
	if end := off + int64(len(b)); end > size {
		size = f.on.resize(f.path, end)
	}
	n := min(max(0, size-off), int64(len(b)))
	w, err := f.file.WriteAt(b[:n], off)
	if err == nil && w < len(b) {
		err = &syscallError{"write"}
	}
	return w, err
}

func (f smallFile) Truncate(size int64) error {
	f.on.resize(f.path, size)
	return f.file.Truncate(size)
}

// syscallError is ENOSPC as package os wraps it.
type syscallError struct{ what string }

func (e *syscallError) Error() string { return e.what + ": " + syscall.ENOSPC.Error() }
func (e *syscallError) Unwrap() error { return syscall.ENOSPC }

// crowdedJob makes elements and reads them again by key. Its budget is so small that they go to disk.
type crowdedJob struct {
	job  *Job
	disk smallDisk
	log  *strings.Builder
	// reads, if not nil, says whether the reader begins to work.
	reads func() bool

	gotMu     sync.Mutex
	want, got map[string][]string
}

// crowdedKinds are kinds of jobs: what the reader's input is, and how the job is made durable.
var crowdedKinds = map[string]struct {
	in      graph.Input
	cfg     core.Config
	endless bool
}{
	"batch":                  {graph.Input{Keyed: true, Grouping: &graph.Grouping{Strategy: &pipepb.WindowingStrategy{}}}, core.Config{}, false},
	"batch, not grouped":     {graph.Input{Keyed: true}, core.Config{}, false},
	"batch, durable stages":  {graph.Input{Keyed: true, Grouping: &graph.Grouping{Strategy: &pipepb.WindowingStrategy{}}}, core.Config{Recoverable: true, ByStage: true}, false},
	"streaming":              {graph.Input{Keyed: true}, core.Config{Recoverable: true, EpochInterval: 50 * time.Millisecond}, true},
	"streaming, not durable": {graph.Input{}, core.Config{Ephemeral: true}, true},
}

// crowdedTurns is how often the source stops, to go on later.
const crowdedTurns = 4

func newCrowdedJob(t *testing.T, kind string, disk smallDisk) *crowdedJob {
	t.Helper()
	return newCrowdedJobOf(t, kind, disk, crowdedTurns, 300)
}

func newCrowdedJobOf(t *testing.T, kind string, disk smallDisk, turns int, bundleElements int64) *crowdedJob {
	t.Helper()
	k := crowdedKinds[kind]
	k.cfg.BundleElements, k.cfg.Shards = bundleElements, 2
	c := &crowdedJob{disk: disk, log: &strings.Builder{}, want: map[string][]string{}, got: map[string][]string{}}
	var data [][]byte
	for i := range 4000 {
		key, value := fmt.Sprint("k", i*i%17), fmt.Sprintf("%0*d", i%40, i)
		data = append(data, kv(int64(i), key, value))
		c.want[key] = append(c.want[key], value)
	}
	turn := 0
	s := &script{stages: map[string]func(context.Context, *Bundle) (*Result, error){
		"s01": func(ctx context.Context, b *Bundle) (*Result, error) {
			in := input(b)
			for out := range slices.Chunk(data[turn*len(data)/turns:(turn+1)*len(data)/turns], 50) {
				if err := b.AwaitRoom(ctx); err != nil {
					return nil, err
				}
				if err := b.Output("out", slices.Concat(out...)); err != nil {
					return nil, err
				}
			}
			if turn++; turn < turns {
				return &Result{Residuals: []*fnpb.DelayedBundleApplication{{Application: &fnpb.BundleApplication{Element: in}}}}, nil
			}
			return &Result{}, nil
		},
		"s02": func(ctx context.Context, b *Bundle) (*Result, error) {
			for c.reads != nil && !c.reads() && ctx.Err() == nil {
				time.Sleep(lookEvery)
			}
			c.gotMu.Lock()
			defer c.gotMu.Unlock()
			data := input(b)
			if k.in.Grouping != nil {
				for key, v := range decodeGroups(t, c.job.stages[2].grouper, data) {
					c.got[key] = append(c.got[key], v...)
				}
				return &Result{}, nil
			}
			var e coders.Element
			for len(data) > 0 {
				n, err := c.job.stages[2].input.Next(data, &e)
				if err != nil {
					return nil, err
				}
				key, value := e.Key, e.Value
				at := readStr(&key)
				c.got[at] = append(c.got[at], readStr(&value))
				data = data[n:]
			}
			return &Result{}, nil
		},
	}}
	plan := testPlan(&k.in)
	plan.Stages[1].Unbounded = k.endless
	store := memstore.NewDisk(nil)
	var err error
	c.job, err = New(Config{
		Workers: s, Core: k.cfg, MemoryBytes: 1 << 10, SpillDir: filepath.Join(t.TempDir(), "segments"), files: disk,
		OpenStore: func() (statebackend.Store, error) { return store.Open("job", statebackend.Options{}) },
	}, &JobInfo{ID: "job", Log: slog.New(slog.NewTextHandler(c.log, nil))}, plan)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *crowdedJob) check(t *testing.T) {
	t.Helper()
	for key, want := range c.want {
		got := c.got[key]
		slices.Sort(got) // bundles of an unkeyed stage run side by side
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("key %s: %d values, want %d, or others", key, len(got), len(want))
		}
	}
	if used := c.job.cfg.Memory.Used(); used != 0 {
		t.Errorf("%d bytes are still on the books", used)
	}
	if c.job.Progress().DiskFull {
		t.Error("the job is over, and waits for room")
	}
}

// run runs the job, and calls full whenever all that is left to do is to wait for room.
func (c *crowdedJob) run(t *testing.T, ctx context.Context, full func()) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- c.job.Run(ctx) }()
	for range 20_000 {
		synctest.Wait()
		select {
		case err := <-ended:
			return err
		default:
		}
		if c.job.Progress().DiskFull {
			full()
		}
		time.Sleep(lookEvery)
	}
	t.Fatal("the job does not end")
	return nil
}

// TestSpilledDataWaitsForRoom: with a disk that is full from the beginning, and that gets room bit by bit, each
// kind of job comes to the same end as with a large one.
func TestSpilledDataWaitsForRoom(t *testing.T) {
	for kind := range crowdedKinds {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint(kind, " ", seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rnd := rand.New(rand.NewPCG(seed, 1))
					c := newCrowdedJob(t, kind, onSmallDisk(int64(seed)*1000, true))
					waited := 0
					if err := c.run(t, t.Context(), func() {
						waited++
						// Some chunks of 2 KB, and blocks that are being cut; a bundle writes 35 KB.
						if u := c.job.Memory(); u.Outputs > 12_000 {
							t.Errorf("%d bytes of output are in memory", u.Outputs)
						}
						c.disk.left.Add(rnd.Int64N(3000))
					}); err != nil {
						t.Fatal(err)
					}
					if waited < 2 {
						t.Errorf("it has waited %d times", waited)
					}
					c.check(t)
				})
			})
		}
	}
}

// TestAJobMakesRoomItself: a disk that has room for some of what is queued, and no more, is enough
// for a job that works it off. What runs when the disk is full gives back too little; more must begin.
func TestAJobMakesRoomItself(t *testing.T) {
	for _, mute := range []bool{false, true} {
		t.Run(fmt.Sprint("mute ", mute), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const room = 8_000 // a turn of the source takes more than half
				c := newCrowdedJobOf(t, "streaming, not durable", onSmallDisk(room, mute), 25, 5)
				c.job.keep.disk.fileBytes = 500
				// Memory is so full that all goes to disk, but not so full that the source is held back.
				budget := NewBudget(1 << 20)
				others := newMemory(budget)
				others.add(memState, budget.Limit()*13/16)
				c.job.keep.mem.budget, c.job.cfg.Memory = budget, budget
				var full atomic.Bool
				c.reads = func() bool {
					if c.job.Progress().DiskFull {
						full.Store(true)
					}
					return full.Load()
				}
				looks := 0
				err := c.run(t, t.Context(), func() {
					if looks++; looks > 1000 {
						t.Fatalf("it waits for people: %+v", c.job.Memory())
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				if !full.Load() {
					t.Error("its disk was never full")
				}
				others.close()
				c.check(t)
				if u := c.job.Memory(); u.Written < 10*room {
					t.Errorf("it has written %d bytes", u.Written)
				}
			})
		})
	}
}

// TestAJobSaysOnceThatItWaits, and goes on when there is room for more than the next block.
func TestAJobSaysOnceThatItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowdedJob(t, "batch", onSmallDisk(5000, false))
		waited := 0
		if err := c.run(t, t.Context(), func() {
			if waited++; waited < 100 {
				c.disk.left.Store(roomBytes)
			} else {
				c.disk.left.Store(2 * roomBytes)
			}
		}); err != nil {
			t.Fatal(err)
		}
		c.check(t)
		if n := strings.Count(c.log.String(), "the disk is full"); n != 1 || waited != 100 {
			t.Errorf("it waits after %d looks, and says %d times that its disk is full:\n%s", waited, n, c.log)
		}
		if n := strings.Count(c.log.String(), "has room again"); n != 1 || !strings.Contains(c.log.String(), c.job.keep.disk.dir) {
			t.Errorf("it says %d times that there is room:\n%s", n, c.log)
		}
	})
}

// TestSpilledDataWaitsNoLongerThanTheJob: a job that is cancelled ends, whatever of it waits.
func TestSpilledDataWaitsNoLongerThanTheJob(t *testing.T) {
	for kind := range crowdedKinds {
		for _, room := range []int64{0, 20_000, 60_000} { // in different stages
			t.Run(fmt.Sprint(kind, " ", room), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancelCause(t.Context())
					why := errors.New("enough")
					c := newCrowdedJob(t, kind, onSmallDisk(room, false))
					full := 0
					err := c.run(t, ctx, func() {
						switch full++; full {
						case 10:
							cancel(why)
						case 20:
							t.Fatal("it waits on")
						}
					})
					if !errors.Is(err, why) {
						t.Errorf("the job has ended with %v", err)
					}
					if used := c.job.cfg.Memory.Used(); used != 0 {
						t.Errorf("%d bytes are still on the books", used)
					}
					if strings.LastIndex(c.log.String(), "has room again") > strings.LastIndex(c.log.String(), "the disk is full") {
						t.Errorf("it says what isn't true:\n%s", c.log)
					}
				})
			})
		}
	}
}

// brokenWhen is a store that fails from some moment on.
type brokenWhen struct {
	statebackend.Store
	when func() bool
}

var errBroken = errors.New("the store is broken")

func (b brokenWhen) Write(batch statebackend.Batch, sync bool) error {
	for !b.when() {
		time.Sleep(time.Second)
	}
	return errBroken
}

// TestAFailedJobWaitsForNoRoom: a job that fails ends, whatever of it waits.
func TestAFailedJobWaitsForNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowdedJob(t, "streaming", onSmallDisk(0, false))
		open, full := c.job.store.open, 0
		c.job.store.open = func() (statebackend.Store, error) {
			st, err := open()
			return brokenWhen{st, c.job.disk.full.Load}, err
		}
		err := c.run(t, t.Context(), func() {
			if full++; full > 100 {
				t.Fatal("it waits on")
			}
		})
		if !errors.Is(err, errBroken) {
			t.Errorf("the job has ended with %v", err)
		}
	})
}

// TestASideInputWaitsForRoom: an index that waits for room holds no lock that others of its
// readers could not leave.
func TestASideInputWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keep := testKeeper(t, 1<<10)
		disk := onSmallDisk(0, false)
		keep.disk.fs, keep.disk.full = disk, newDiskFull(slog.New(slog.DiscardHandler))
		side := testSide(t, "beam:side_input:iterable:v1", nil, keep)
		window := coders.IntervalWindow{Start: 0, End: 10}
		var els [][]byte
		for i := range 100 {
			els = append(els, kv(0, fmt.Sprint("k", i), "value", window))
		}
		side.add(block(els...))
		side.seal()
		look := func(ctx context.Context) <-chan error {
			ch := make(chan error, 1)
			go func() {
				_, _, err := side.lookup(ctx, coders.AppendIntervalWindow(nil, window), nil)
				ch <- err
			}()
			return ch
		}
		first := look(t.Context())
		synctest.Wait()
		ctx, cancel := context.WithCancelCause(t.Context())
		second := look(ctx)
		synctest.Wait()
		why := errors.New("enough")
		cancel(why)
		if err := <-second; !errors.Is(err, why) {
			t.Errorf("who leaves gets %v", err)
		}
		if !keep.disk.full.full.Load() {
			t.Error("nobody waits for room")
		}
		disk.left.Store(2 * roomBytes)
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

// TestALetterWaitsForRoom: an element that is put aside waits for a place, and is there once, whole.
func TestALetterWaitsForRoom(t *testing.T) {
	for name, recoverable := range map[string]bool{"durable": true, "not durable": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := onSmallDisk(50, true) // less than one letter
				cfg := Config{
					Letters: filepath.Join(t.TempDir(), "more", "letters"), files: disk,
					Core: core.Config{Recoverable: recoverable, Ephemeral: !recoverable, OnPoison: core.DeadLetter},
				}
				store := memstore.NewDisk(nil)
				cfg.OpenStore = func() (statebackend.Store, error) { return store.Open("job", statebackend.Options{}) }
				waited := false
				go func() {
					time.Sleep(10 * time.Second)
					synctest.Wait()
					waited = true
					disk.left.Store(1 << 20)
				}()
				if _, err := poisoned(t, cfg, "13", "38"); err != nil {
					t.Fatal(err)
				}
				if !waited {
					t.Error("it has not waited")
				}
				if all, _ := letters(t, cfg.Letters); len(all) != 2 {
					t.Errorf("letters %+v", all)
				}
			})
		})
	}
}
