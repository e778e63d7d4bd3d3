package main

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// output is what a run has committed, as it comes. Records are kept as they are and
// checked when the run is over: meanwhile they should cost little.
type output struct {
	want   int
	cl     *kgo.Client
	cancel context.CancelFunc
	done   chan struct{}

	// half and complete are closed when so much is there.
	half, complete chan struct{}

	recordsMu sync.Mutex
	records   []*kgo.Record
	at        time.Time // when the last ones came
	after     time.Time
	first     chan time.Time
}

// watch begins to read results, of which there should be so many.
func watch(ctx context.Context, want int, opts ...kgo.Opt) (*output, error) {
	cl, err := kgo.NewClient(append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// Few and large fetches: this reader's work is on the same cores.
		kgo.FetchMinBytes(256<<10), kgo.FetchMaxWait(50*time.Millisecond))...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	o := &output{want: want, cl: cl, cancel: cancel, done: make(chan struct{}), half: make(chan struct{}), complete: make(chan struct{})}
	go o.run(ctx)
	return o, nil
}

func (o *output) run(ctx context.Context) {
	defer close(o.done)
	for ctx.Err() == nil {
		records := o.cl.PollFetches(ctx).Records()
		if len(records) == 0 {
			continue
		}
		o.take(records, time.Now())
	}
}

func (o *output) take(records []*kgo.Record, now time.Time) {
	o.recordsMu.Lock()
	defer o.recordsMu.Unlock()
	before := len(o.records)
	o.records, o.at = append(o.records, records...), now
	for n, c := range map[int]chan struct{}{(o.want + 1) / 2: o.half, o.want: o.complete} {
		if before < n && len(o.records) >= n {
			close(c)
		}
	}
	if o.first == nil {
		return
	}
	for _, r := range records {
		if !r.Timestamp.Before(o.after) {
			o.first <- now
			o.first = nil
			return
		}
	}
}

// firstAfter gets the time at which the first record comes that was appended at t or
// later.
func (o *output) firstAfter(t time.Time) <-chan time.Time {
	o.recordsMu.Lock()
	defer o.recordsMu.Unlock()
	o.after, o.first = t, make(chan time.Time, 1)
	return o.first
}

func (o *output) len() int {
	o.recordsMu.Lock()
	defer o.recordsMu.Unlock()
	return len(o.records)
}

// last is when the last records came.
func (o *output) last() time.Time {
	o.recordsMu.Lock()
	defer o.recordsMu.Unlock()
	return o.at
}

// settle waits until nothing has come for a while.
func (o *output) settle(ctx context.Context) {
	for time.Since(o.last()) < 2*time.Second && ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
	}
}

// stop ends the reading, and returns all that has come.
func (o *output) stop() []*kgo.Record {
	o.cancel()
	<-o.done
	o.recordsMu.Lock()
	defer o.recordsMu.Unlock()
	return o.records
}

func (o *output) close() {
	o.stop()
	o.cl.Close()
}
