package engine

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

// cramped is a store on a disk that is full until there is room.
type cramped struct {
	statebackend.Store
	room *atomic.Bool
	full func(bool) bool
}

func (c cramped) Write(b statebackend.Batch, sync bool) error {
	for !c.room.Load() {
		if !c.full(true) {
			return syscall.ENOSPC
		}
		time.Sleep(time.Millisecond)
	}
	c.full(false)
	return c.Store.Write(b, sync)
}

// onFullDisk starts a job that has something to write, and waits until it says that its
// disk is full.
func onFullDisk(t *testing.T) (j *Job, room *atomic.Bool, cancel func(), ended <-chan error) {
	t.Helper()
	room = &atomic.Bool{}
	s := &script{stages: map[string]func(context.Context, *Bundle) (*Result, error){
		"s01": makeKVs(40),
		"s02": func(context.Context, *Bundle) (*Result, error) { return &Result{}, nil },
	}}
	j = newTestJobWith(t, testPlan(&graph.Input{Keyed: true}), s, core.Config{Recoverable: true, EpochInterval: time.Millisecond})
	j.store.open = func() (statebackend.Store, error) {
		st, err := memstore.NewDisk(nil).Open("job", statebackend.Options{})
		return cramped{st, room, j.NoteDiskFull}, err
	}
	ctx, cancel := context.WithCancel(t.Context())
	ch := make(chan error, 1)
	go func() { ch <- j.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); !j.Progress().DiskFull; time.Sleep(time.Millisecond) {
		select {
		case err := <-ch:
			t.Fatalf("the job has ended: %v", err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the job does not say that its disk is full")
		}
	}
	return j, room, cancel, ch
}

func TestAJobWaitsForRoom(t *testing.T) {
	j, room, cancel, ended := onFullDisk(t)
	defer cancel()
	select {
	case err := <-ended:
		t.Fatalf("the job has ended: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	room.Store(true)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if j.Progress().DiskFull {
		t.Error("the job is done, and waits for room")
	}
}

func TestACancelledJobWaitsForNoRoom(t *testing.T) {
	_, _, cancel, ended := onFullDisk(t)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
