package engine

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

// kvs is how many elements the job makes, some 30 bytes each.
const kvs = 4000

// batchLife is one process of a job whose input ends.
type batchLife struct {
	made, groups, values atomic.Int64
	ended                chan error
	job                  *Job
	cancel               context.CancelFunc
}

// live runs the job impulse -> make -> group -> take, on a disk and a directory. Unless it is the
// last life it takes nothing.
func live(t *testing.T, disk *memstore.Disk, dir string, budget int64, last bool) *batchLife {
	t.Helper()
	return liveOn(t, osFiles{}, disk, dir, budget, last)
}

func liveOn(t *testing.T, files fileSystem, disk *memstore.Disk, dir string, budget int64, last bool) *batchLife {
	t.Helper()
	l := &batchLife{ended: make(chan error, 1)}
	plan := testPlan(&graph.Input{Keyed: true, Grouping: &graph.Grouping{Strategy: &pipepb.WindowingStrategy{OutputTime: pipepb.OutputTime_END_OF_WINDOW}}})
	s := &script{stages: map[string]func(context.Context, *Bundle) (*Result, error){
		"s01": func(ctx context.Context, b *Bundle) (*Result, error) {
			l.made.Add(1)
			return makeKVs(kvs)(ctx, b)
		},
		"s02": func(ctx context.Context, b *Bundle) (*Result, error) {
			if !last {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			got := groupsOf(t, l.job.stages[2].grouper, []core.Block{{Payload: input(b)}})
			for _, g := range got {
				l.values.Add(int64(len(strings.Fields(g[strings.Index(g, "="):]))))
			}
			l.groups.Add(int64(len(got)))
			return &Result{}, nil
		},
	}}
	var err error
	l.job, err = New(Config{
		Workers: s, Core: core.Config{Recoverable: true, ByStage: true, Shards: 2}, MemoryBytes: budget, SpillDir: dir, files: files,
		OpenStore: func() (statebackend.Store, error) { return disk.Open("job", statebackend.Options{}) },
	}, &JobInfo{ID: "job", Log: slog.New(slog.DiscardHandler)}, plan)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	l.cancel = cancel
	t.Cleanup(cancel)
	go func() { l.ended <- l.job.Run(ctx) }()
	return l
}

// awaitEpoch waits until something is durable.
func (l *batchLife) awaitEpoch(t *testing.T) {
	t.Helper()
	for l.job.Progress().Epochs == 0 {
		select {
		case err := <-l.ended:
			t.Fatalf("the job has ended: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
}

// TestABatchJobGoesOnFromAStage: the stage that has ended is not run again, be its output in
// memory or on disk when it does; its bytes are in segment files, and once.
func TestABatchJobGoesOnFromAStage(t *testing.T) {
	for name, budget := range map[string]int64{"in memory": 1 << 30, "on disk": 1 << 10} {
		t.Run(name, func(t *testing.T) {
			disk, dir := memstore.NewDisk(nil), filepath.Join(t.TempDir(), "segments")
			for n := range 3 { // the second goes on from what the first has, and does nothing itself
				l := live(t, disk, dir, budget, false)
				if n == 0 {
					l.awaitEpoch(t)
				} else {
					time.Sleep(20 * time.Millisecond) // it may do something, or nothing yet
				}
				l.cancel()
				if err := <-l.ended; !errors.Is(err, context.Canceled) {
					t.Fatalf("life %d has ended with %v", n, err)
				}
				// Once means in the files and not in the store, too.
				if p, u := l.job.Progress(), l.job.Memory(); n == 0 && name == "in memory" && (p.EpochBytes > 10*kvs || u.Written < 20*kvs || u.Written > 40*kvs) {
					t.Errorf("%d bytes are in epochs and %d in segment files of %d elements", p.EpochBytes, u.Written, kvs)
				}
				if n > 0 && l.made.Load() > 0 {
					t.Fatalf("life %d has run the first stage again", n)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "s01-9000"+segmentExt), []byte("left behind"), 0o600); err != nil {
				t.Fatal(err)
			}
			l := live(t, disk, dir, budget, true)
			if err := <-l.ended; err != nil {
				t.Fatal(err)
			}
			if l.made.Load() != 0 || l.groups.Load() != 5 || l.values.Load() != kvs {
				t.Errorf("the last life has run the first stage %d times and taken %d groups of %d values, want none and 5 of %d",
					l.made.Load(), l.groups.Load(), l.values.Load(), kvs)
			}
			if names, _ := (osFiles{}).ReadDir(dir); slices.Contains(names, "s01-9000"+segmentExt) {
				t.Error("what nothing names is still there")
			}
		})
	}
}

// TestADamagedSegment fails the job, and its error names the file.
func TestADamagedSegment(t *testing.T) {
	disk, dir := memstore.NewDisk(nil), t.TempDir()
	l := live(t, disk, dir, 1<<30, false)
	l.awaitEpoch(t)
	l.cancel()
	<-l.ended
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentExt))
	if err != nil || len(files) == 0 {
		t.Fatalf("segments %v, %v", files, err)
	}
	for _, f := range files {
		if err := os.Truncate(f, 1); err != nil {
			t.Fatal(err)
		}
	}
	err = <-live(t, disk, dir, 1<<30, true).ended
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want to hear of the file", err)
	}
}

// unsynced is a file system whose syncs fail.
type unsynced struct{ osFiles }

type unsyncedFile struct{ file }

func (unsyncedFile) Sync() error { return errors.New("no sync") }

func (u unsynced) Create(path string) (file, error) {
	f, err := u.osFiles.Create(path)
	return unsyncedFile{f}, err
}

// TestSegmentsAreSynced before the epoch that names them: if they can't be, it isn't written, and the
// job fails by its disk.
func TestSegmentsAreSynced(t *testing.T) {
	disk := memstore.NewDisk(nil)
	err := <-liveOn(t, unsynced{}, disk, t.TempDir(), 1<<30, true).ended
	if !DiskFault(err) || !strings.Contains(err.Error(), "no sync") {
		t.Errorf("the job ends with %v", err)
	}
	st, err := disk.Open("job", statebackend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, found, err := st.Get(nil, []byte{recoveryMark, recordCore}); found || err != nil {
		t.Errorf("an epoch is there: %v, %v", found, err)
	}
}

func FuzzPlace(f *testing.F) {
	s := newSegments("dir", osFiles{}, nil, func(int) string { return "s" })
	s.lasts("dir")
	at := &spilled{in: s, file: &segmentFile{path: "dir/s-0001.segment"}, off: 7, n: 5, sum: 9}
	f.Add(at.appendPlace(nil))
	f.Add([]byte{1, '/'})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := s.adopt(0, b)
		if err == nil && (filepath.Dir(p.file.path) != "dir" || p.off < 0 || p.n < 0) {
			t.Errorf("%q is %s at %d, %d bytes", b, p.file.path, p.off, p.n)
		}
		if q, err2 := s.adopt(0, p.appendPlaceOf(err)); err == nil && (err2 != nil || q.off != p.off || q.n != p.n || q.sum != p.sum || q.file != p.file) {
			t.Errorf("%q is not the same again: %v", b, err2)
		}
	})
}

// appendPlaceOf is appendPlace, of nothing if there was an error.
func (p *spilled) appendPlaceOf(err error) []byte {
	if err != nil {
		return nil
	}
	return p.appendPlace(nil)
}
