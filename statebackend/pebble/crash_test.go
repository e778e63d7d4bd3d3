package pebble

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/summerbeam/summerbeam/internal/testkit/seeds"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/storetest"
)

// TestCrash cuts the power of a file system that keeps only what was synced, and
// of the rest a random part, at random moments: between batches and inside
// them. What it finds must be whole batches up to some number at or above the
// last one synced.
func TestCrash(t *testing.T) {
	seeds.Each(t, 30, func(seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewCrashableMem()
		// The power goes at the start of a write or a sync, and not after some time: the seed says at which,
		// though not what pebble's own goroutines have come to by then.
		var left atomic.Int64
		var crash func()
		count := errorfs.InjectorFunc(func(op errorfs.Op) error {
			switch op.Kind {
			case errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
				if left.Add(-1) == 0 {
					crash()
				}
			}
			return nil
		})
		var last uint64 // in the store, after the last crash
		for life := range 4 {
			s, err := OpenFS(errorfs.Wrap(fs, count), "store", statebackend.Options{WriteBufferBytes: 512 << 10})
			if err != nil {
				t.Fatalf("life %d: %v", life, err)
			}
			got, err := storetest.LedgerState(s)
			if err != nil || got < last {
				t.Fatalf("life %d: at batch %d, want at least %d: %v", life, got, last, err)
			}
			var synced, written atomic.Uint64
			synced.Store(got)
			written.Store(got)
			cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}
			type cut struct {
				fs   *vfs.MemFS
				from uint64
			}
			crashed := make(chan cut, 1)
			crash = func() {
				from := synced.Load() // before the clone: it may have more
				crashed <- cut{fs.CrashClone(cfg), from}
			}
			left.Store(1 + rng.Int64N(200))
			b := s.NewBatch()
			var c cut
			for n := got + 1; c.fs == nil; n++ {
				b.Reset()
				storetest.LedgerBatch(b, n)
				sync := n%3 == 0
				if err := s.Write(b, sync); err != nil {
					t.Fatal(err)
				}
				if written.Store(n); sync {
					synced.Store(n)
				}
				if n%50 == 0 {
					if err := s.Flush(); err != nil {
						t.Fatal(err)
					}
				}
				select {
				case c = <-crashed:
				default:
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			fs, last = c.fs, c.from
		}
	})
}

// TestDiskFailure lets syncs of the log fail: an error for whoever writes, and
// for all who come after; neither a panic nor the end of the process, which is
// what pebble would make of it.
func TestDiskFailure(t *testing.T) {
	broken := errors.New("the disk is broken")
	for _, match := range []string{".log", "MANIFEST"} {
		t.Run(match, func(t *testing.T) {
			var on atomic.Bool
			mem := vfs.NewMem()
			fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if on.Load() && strings.Contains(op.Path, match) && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileWrite) {
					return broken
				}
				return nil
			}))
			s, err := OpenFS(fs, "store", statebackend.Options{})
			if err != nil {
				t.Fatal(err)
			}
			write := func() error {
				b := s.NewBatch()
				defer b.Close()
				b.Put([]byte("a"), []byte("1"))
				return s.Write(b, true)
			}
			if err := write(); err != nil {
				t.Fatal(err)
			}
			snap, err := s.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			on.Store(true)
			if match == ".log" {
				err = write()
			} else {
				err = s.Flush()
			}
			if err == nil || !strings.Contains(err.Error(), broken.Error()) || !strings.Contains(err.Error(), "restart") {
				t.Fatalf("with a broken disk: %v; want its error and what to do", err)
			}
			if err := write(); err == nil {
				t.Error("a write after the failure succeeded")
			}
			if _, _, err := s.Get(nil, []byte("a")); err == nil {
				t.Error("a read after the failure succeeded")
			}
			if _, _, err := snap.Get(nil, []byte("a")); err == nil {
				t.Error("a snapshot's read after the failure succeeded")
			}
			if err := s.Close(); err == nil {
				t.Error("Close after the failure succeeded")
			}
			// The parked goroutine may still hold files: nobody else gets in.
			if _, err := OpenFS(mem, "store", statebackend.Options{}); !errors.Is(err, statebackend.ErrLocked) {
				t.Errorf("Open after the failure: %v, want ErrLocked", err)
			}
		})
	}
}
