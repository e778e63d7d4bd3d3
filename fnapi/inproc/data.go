package inproc

import (
	"context"
	"fmt"
	"io"
	"iter"
	"runtime/debug"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec"

	"github.com/summerbeam/summerbeam/runner/engine"
)

const (
	// flushSize is how much output is gathered for one call of Output. Smaller costs
	// the engine more per byte, larger keeps its consumers waiting.
	flushSize = 256 << 10
	// smallBuffer is a sink's first buffer when nothing is known of its output.
	smallBuffer = 512
	// readAhead is the number of chunks the engine may be ahead of the SDK. More
	// gains nothing and holds more of a spilled input in memory.
	readAhead = 2
)

// dataManager is the bundle's data streams in plain memory. Its methods are
// called by the goroutine that executes the plan.
type dataManager struct{ r *bundleRun }

var _ exec.DataManager = dataManager{}

// OpenElementChan starts feeding the bundle. The SDK calls it once, when every
// StartBundle has returned, so from here on the plan's counts are this bundle's.
func (d dataManager) OpenElementChan(_ context.Context, id exec.StreamID, _ []string) (<-chan exec.Elements, error) {
	if want := d.r.b.Source; id.PtransformID != want {
		return nil, fmt.Errorf("bundle of stage %s: its descriptor's source is %s, its input is for %s", d.r.b.Stage, id.PtransformID, want)
	}
	if !d.r.opened.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("bundle of stage %s: its input was opened twice", d.r.b.Stage)
	}
	ch := make(chan exec.Elements, readAhead)
	go d.r.feed(ch)
	return ch, nil
}

// feed moves the bundle's input into ch, and closes it only behind the last
// timer: the SDK takes a closed channel for the whole input, and has no other
// way to hear of an error than the end of its context.
func (r *bundleRun) feed(ch chan<- exec.Elements) {
	defer close(r.feedDone)
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("BUG: reading the bundle's input panicked: %v\n%s", p, debug.Stack())
			}
		}()
		for data, err := range orEmpty(r.b.Input) {
			if err != nil {
				return fmt.Errorf("reading the bundle's input: %w", err)
			}
			if len(data) == 0 {
				continue
			}
			if !r.send(ch, exec.Elements{Data: data, PtransformID: r.b.Source}) {
				return nil
			}
		}
		for t, err := range orEmpty(r.b.Timers) {
			if err != nil {
				return fmt.Errorf("reading the bundle's timers: %w", err)
			}
			if len(t.Data) == 0 {
				continue
			}
			if !r.send(ch, exec.Elements{Timers: t.Data, TimerFamilyID: t.Family, PtransformID: t.Transform}) {
				return nil
			}
		}
		r.fed.Store(true)
		close(ch)
		return nil
	}()
	if err != nil {
		r.cancel(err)
	}
}

func (r *bundleRun) send(ch chan<- exec.Elements, e exec.Elements) bool {
	select {
	case ch <- e:
		return true
	case <-r.ctx.Done():
		return false
	}
}

func orEmpty[T any](s iter.Seq2[T, error]) iter.Seq2[T, error] {
	if s == nil {
		return func(func(T, error) bool) {}
	}
	return s
}

func (d dataManager) OpenWrite(_ context.Context, id exec.StreamID) (io.WriteCloser, error) {
	sink := id.PtransformID
	w := &chunkWriter{r: d.r, hint: d.r.plan.hint(sink), room: d.r.b.AwaitRoom, emit: func(p []byte) error { return d.r.b.Output(sink, p) }}
	d.r.writers = append(d.r.writers, w)
	return w, nil
}

// OpenTimerWrite returns the writer of a timer family. The SDK neither closes
// it nor looks at the errors of its Write, so both are made up for when the
// bundle ends: see flush.
func (d dataManager) OpenTimerWrite(_ context.Context, id exec.StreamID, family string) (io.WriteCloser, error) {
	transform := id.PtransformID
	w := &chunkWriter{r: d.r, hint: d.r.plan.hint(transform + "\x00" + family),
		emit: func(p []byte) error { return d.r.b.TimerOutput(transform, family, p) }}
	d.r.writers = append(d.r.writers, w)
	return w, nil
}

// flush hands on what writers still hold and returns the first error that any of
// them has seen.
func (r *bundleRun) flush() error {
	for _, w := range r.writers {
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}

// chunkWriter gathers elements into large chunks. The SDK makes one Write per
// element, so chunks hold whole elements.
type chunkWriter struct {
	r    *bundleRun
	emit func([]byte) error
	room func(context.Context) error // engine.Bundle.AwaitRoom
	buf  []byte
	// hint remembers how much the last bundle of the plan has written here, so that
	// a buffer of the right size is made at once.
	hint  *int
	total int
	err   error
}

func (w *chunkWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if len(w.buf) > 0 && len(w.buf)+len(p) > flushSize {
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	if w.buf == nil {
		n := max(*w.hint-w.total, len(p), smallBuffer)
		if w.total > 0 {
			n = max(len(p), flushSize)
		}
		w.buf = make([]byte, 0, max(min(n, flushSize), len(p)))
	}
	w.buf = append(w.buf, p...)
	w.total += len(p)
	return len(p), nil
}

func (w *chunkWriter) flush() error {
	buf := w.buf
	w.buf = nil
	// The receiver may queue the chunk for long: don't let it hold twice its size.
	if cap(buf) > 2*len(buf) {
		buf = append(make([]byte, 0, len(buf)), buf...)
	}
	if w.room != nil {
		if w.err = w.room(w.r.ctx); w.err != nil {
			return w.err
		}
	}
	if !w.r.gate.enter() {
		w.err = errOver
		return w.err
	}
	defer w.r.gate.leave()
	w.err = w.emit(buf)
	return w.err
}

func (w *chunkWriter) Close() error {
	if w.err == nil && len(w.buf) > 0 {
		w.flush()
	}
	*w.hint = w.total
	return w.err
}

var _ engine.Worker = (*worker)(nil)
