package inproc_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/fnapi/inproc"
	bt "github.com/summerbeam/summerbeam/fnapi/inproc/bundletest"
)

// A DoFn that hangs is left behind: Run returns, the stack is logged, and nothing
// it does later is heard.
func TestHungDoFn(t *testing.T) {
	var log syncBuffer
	st := bt.MustStage(t, "emitting")
	job := bt.Job()
	job.Log = slog.New(slog.NewTextHandler(&log, nil))
	w, err := inproc.Workers{Options: inproc.Options{HangAfter: 20 * time.Millisecond}}.Start(context.Background(), job, "w1", "go", st.Env)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	at := entered(t)
	release := make(chan struct{})
	hook(t, "hang", func() { <-release })
	ctx, cancel := context.WithCancelCause(context.Background())
	b := st.Bundle(1, bt.One("late"))
	go func() { <-at; cancel(errGivenUp) }()
	if _, err := b.Run(ctx, w); !errors.Is(err, errGivenUp) {
		t.Errorf("got %v", err)
	}
	log.await(t, "left behind")
	if s := log.String(); !strings.Contains(s, "dofns.go") || !strings.Contains(s, "given up") {
		t.Errorf("the log doesn't tell where it hangs and why: %s", s)
	}
	// Others are not held up.
	bt.MustStage(t, "identity").Bundle(1, bt.KV("a", "b")).MustRun(t, w)
	// The late output is refused.
	close(release)
	log.await(t, "has returned")
	if b.Out.Late() > 0 {
		t.Errorf("%d calls of Output after Run has returned", b.Out.Late())
	}
}

// syncBuffer is a log to be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *syncBuffer) await(t *testing.T, part string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(b.String(), part); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log never says %q: %s", part, b.String())
		}
	}
}
