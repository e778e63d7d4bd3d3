package memstore

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/storetest"
)

func open(t *testing.T, d *Disk) statebackend.Store {
	t.Helper()
	s, err := d.Open("store", statebackend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func writeLedger(s statebackend.Store, n uint64, sync bool) error {
	b := s.NewBatch()
	defer b.Close()
	storetest.LedgerBatch(b, n)
	return s.Write(b, sync)
}

func state(t *testing.T, d *Disk) uint64 {
	t.Helper()
	s := open(t, d)
	defer s.Close()
	n, err := storetest.LedgerState(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCrash(t *testing.T) {
	d := NewDisk(nil)
	s := open(t, d)
	for n := range uint64(10) {
		if err := writeLedger(s, n+1, n+1 == 4); err != nil {
			t.Fatal(err)
		}
	}
	if got := state(t, d.Crash(nil)); got != 4 {
		t.Errorf("batch %d survived, want exactly the synced 4", got)
	}
	seen := map[uint64]bool{}
	for seed := range uint64(200) {
		got := state(t, d.Crash(rand.New(rand.NewPCG(seed, 0))))
		if again := state(t, d.Crash(rand.New(rand.NewPCG(seed, 0)))); again != got {
			t.Fatalf("seed %d kept %d, then %d", seed, got, again)
		}
		seen[got] = true
	}
	for n := range uint64(12) {
		if want := n >= 4 && n <= 10; seen[n] != want {
			t.Errorf("batch %d was the last to survive: %v, want %v", n, seen[n], want)
		}
	}
	// A crash is of the disk at that moment; the store goes on.
	after := d.Crash(nil)
	if err := writeLedger(s, 11, true); err != nil {
		t.Fatal(err)
	}
	if got := state(t, after); got != 4 {
		t.Errorf("a crashed disk changed to %d", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := state(t, d); got != 11 {
		t.Errorf("the disk that went on has %d, want 11", got)
	}
}

func TestEphemeralLosesAll(t *testing.T) {
	d := NewDisk(nil)
	s, err := d.Open("store", statebackend.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writeLedger(s, 1, true), s.Flush()); err != nil {
		t.Fatal(err)
	}
	if got := state(t, d.Crash(nil)); got != 0 {
		t.Errorf("an ephemeral store has batch %d after a crash", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := state(t, d); got != 0 {
		t.Errorf("an ephemeral store has batch %d after Close", got)
	}
}

func TestHook(t *testing.T) {
	broken := errors.New("broken")
	var fail string
	var ops []string
	d := NewDisk(func(op string) error {
		ops = append(ops, op)
		if op == fail {
			return broken
		}
		return nil
	})
	s := open(t, d)
	if err := writeLedger(s, 1, true); err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	storetest.LedgerBatch(b, 2)
	fail = "write"
	if err := s.Write(b, true); !errors.Is(err, broken) {
		t.Errorf("Write: %v", err)
	}
	if n, _ := storetest.LedgerState(s); n != 1 {
		t.Errorf("a failed write left batch %d", n)
	}
	// The batch is as it was and can be tried again.
	fail = "sync"
	if err := s.Write(b, true); !errors.Is(err, broken) {
		t.Errorf("Write: %v", err)
	}
	if n, _ := storetest.LedgerState(s); n != 2 {
		t.Errorf("a failed sync left batch %d, want the written 2", n)
	}
	if got := state(t, d.Crash(nil)); got != 1 {
		t.Errorf("after a failed sync batch %d is durable, want 1", got)
	}
	fail = ""
	want := []string{"open", "write", "sync", "write", "scan", "scan", "write", "sync", "scan", "scan", "open", "scan", "scan", "close"}
	if !slices.Equal(ops, want) {
		t.Errorf("the hook saw %q, want %q", ops, want)
	}
}
