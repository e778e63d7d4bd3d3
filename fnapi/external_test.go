package fnapi_test

import (
	"errors"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/fnapi"
	"github.com/summerbeam/summerbeam/runner/engine"
)

// TestALostWorkerIsGivenUpAtOnce: its pool may be gone with it, and the next worker, or the next job,
// must not wait until that is sure.
func TestALostWorkerIsGivenUpAtOnce(t *testing.T) {
	w, f, pool := startFakeOn(t, serve(t, fnapi.Options{StopTimeout: time.Hour}), &engine.JobInfo{ID: "job-1"})
	pool.deaf = make(chan struct{})
	t.Cleanup(func() { close(pool.deaf) })
	b, _ := bundle("b1", plain("sink"), []byte("abc"))
	ran := start(t.Context(), w, b)
	f.next()
	_ = f.conn.Close()
	if o := wait(t, ran); !errors.Is(o.err, engine.ErrWorkerLost) {
		t.Fatalf("got %v, want that the worker is lost", o.err)
	}
	closed := make(chan error, 1)
	go func() { closed <- w.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it waits for the pool")
	}
}
