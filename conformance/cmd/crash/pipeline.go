package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window/trigger"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"

	_ "github.com/summerbeam/summerbeam/runner/beamrunner"
)

// The job under fire: a source that looks endless, windowed counts with early firings,
// counts in state that a timer hands on, a side input, and an output that is written
// behind a durable hop by shard and sequence number.

const (
	parts      = 4
	keys       = 50
	windowSize = time.Second
	// timerEvery is how far apart (ms of event time) a key's timer fires.
	timerEvery = 2500
	sinkShards = 4
	// sideSum is what the side input's numbers sum up to.
	sideSum = 4950
)

func init() {
	beam.RegisterDoFn(&source{})
	register.Emitter3[beam.EventTime, string, int64]()
	register.Emitter2[string, record]()
	register.Emitter1[int]()
	beam.RegisterDoFn(&countPane{})
	beam.RegisterDoFn(&countState{})
	beam.RegisterDoFn(&number{})
	register.Emitter1[numbered]()
	beam.RegisterDoFn(&write{})
	register.Function2x0(numbers)
	register.Iter1[int64]()
	register.Iter1[int]()
	beam.RegisterType(reflectType[record]())
	beam.RegisterType(reflectType[numbered]())
}

// record is one output: so many elements for a label.
type record struct {
	Label string
	Count int64
}

// numbered is a record with the place that state has given it.
type numbered struct {
	Shard string
	Seq   int64
	Label string
	Count int64
}

// element is what the source makes of index i of a part: the same each time.
func element(part, i int64) (key string, millis int64) {
	h := uint64(part*1_000_003+i) * 0x9E3779B97F4A7C15
	return fmt.Sprintf("key%02d", (h>>32)%keys), i
}

// watermark is an estimator that its DoFn sets.
type watermark struct {
	millisMu sync.Mutex
	millis   int64
}

func (w *watermark) CurrentWatermark() time.Time {
	w.millisMu.Lock()
	defer w.millisMu.Unlock()
	return time.UnixMilli(w.millis)
}

func (w *watermark) advance(ms int64) {
	w.millisMu.Lock()
	defer w.millisMu.Unlock()
	w.millis = ms
}

// source makes Each elements in each of its parts, one for each millisecond of event
// time, Rate of them in a second.
type source struct {
	Each int64
	Rate int64
}

func (f *source) CreateInitialRestriction([]byte) offsetrange.Restriction {
	return offsetrange.Restriction{End: parts * f.Each}
}

func (f *source) SplitRestriction(_ []byte, r offsetrange.Restriction) (out []offsetrange.Restriction) {
	for p := range int64(parts) {
		out = append(out, offsetrange.Restriction{Start: p * f.Each, End: (p + 1) * f.Each})
	}
	return out
}

func (f *source) RestrictionSize(_ []byte, r offsetrange.Restriction) float64 { return r.Size() }

func (f *source) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

func (f *source) InitialWatermarkEstimatorState(_ beam.EventTime, r offsetrange.Restriction, _ []byte) int64 {
	return math.MinInt64 / 1000
}

func (f *source) CreateWatermarkEstimator(ms int64) *watermark { return &watermark{millis: ms} }

func (f *source) WatermarkEstimatorState(w *watermark) int64 {
	return w.CurrentWatermark().UnixMilli()
}

func (f *source) TruncateRestriction(rt *sdf.LockRTracker, _ []byte) offsetrange.Restriction {
	return rt.GetRestriction().(offsetrange.Restriction)
}

func (f *source) ProcessElement(we *watermark, rt *sdf.LockRTracker, _ []byte, emit func(beam.EventTime, string, int64)) sdf.ProcessContinuation {
	r := rt.GetRestriction().(offsetrange.Restriction)
	began, n := time.Now(), int64(0)
	for i := r.Start; rt.TryClaim(i); i++ {
		key, ms := element(i/f.Each, i%f.Each)
		emit(beam.EventTime(ms), key, ms)
		we.advance(ms)
		n++
		if n%50 == 0 {
			time.Sleep(time.Duration(n)*time.Second/time.Duration(f.Rate) - time.Since(began))
		}
	}
	return sdf.StopProcessing()
}

// countPane counts a pane's values.
type countPane struct{}

func (*countPane) ProcessElement(w beam.Window, key string, values func(*int64) bool, side func(*int) bool, emit func(string, record)) error {
	n, sum := int64(0), 0
	for v := int64(0); values(&v); {
		n++
	}
	for v := 0; side(&v); {
		sum += v
	}
	if sum != sideSum {
		return fmt.Errorf("the side input sums up to %d, not %d", sum, sideSum)
	}
	r := record{Label: fmt.Sprintf("window/%s/%d", key, int64(w.MaxTimestamp())), Count: n}
	emit(shardOf(r.Label), r)
	return nil
}

// countState counts a key's elements in state; a timer hands on what it has.
type countState struct {
	Count state.Value[int64]
	Flush timers.EventTime
}

func (f *countState) ProcessElement(ts beam.EventTime, sp state.Provider, tp timers.Provider, key string, _ int64, emit func(string, record)) error {
	n, _, err := f.Count.Read(sp)
	if err != nil {
		return err
	}
	if n == 0 {
		at := (int64(ts)/timerEvery + 1) * timerEvery
		f.Flush.Set(tp, time.UnixMilli(at))
	}
	return f.Count.Write(sp, n+1)
}

func (f *countState) OnTimer(_ context.Context, _ beam.EventTime, sp state.Provider, _ timers.Provider, key string, _ timers.Context, emit func(string, record)) {
	n, _, err := f.Count.Read(sp)
	if err != nil {
		panic(err)
	}
	if err := f.Count.Clear(sp); err != nil {
		panic(err)
	}
	r := record{Label: "state/" + key, Count: n}
	emit(shardOf(r.Label), r)
}

func shardOf(label string) string {
	h := fnv.New32a()
	h.Write([]byte(label))
	return fmt.Sprintf("shard%d", h.Sum32()%sinkShards)
}

// number gives each record of a shard the next number.
type number struct {
	Next state.Value[int64]
}

func (f *number) ProcessElement(sp state.Provider, shard string, r record, emit func(numbered)) error {
	n, _, err := f.Next.Read(sp)
	if err != nil {
		return err
	}
	emit(numbered{Shard: shard, Seq: n, Label: r.Label, Count: r.Count})
	return f.Next.Write(sp, n+1)
}

// write appends records to a file. Its input is durable: what it is given again has the
// number that it had.
type write struct {
	Dir         string
	Annotations map[string][]byte

	file *os.File
}

var (
	started   = time.Now()
	firstOnce sync.Once
)

func (f *write) Setup() (err error) {
	f.file, err = os.OpenFile(filepath.Join(f.Dir, "records"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	return err
}

func (f *write) ProcessElement(_ context.Context, n numbered) error {
	firstOnce.Do(func() { fmt.Printf("first output after %d ms\n", time.Since(started).Milliseconds()) })
	// One write: a kill leaves the line whole or out.
	_, err := fmt.Fprintf(f.file, "%s %d %s %d\n", n.Shard, n.Seq, n.Label, n.Count)
	return err
}

func (f *write) Teardown() error { return f.file.Close() }

func numbers(_ []byte, emit func(int)) {
	for i := range 100 {
		emit(i)
	}
}

func build(dir string, each, rate int64) *beam.Pipeline {
	p, s := beam.NewPipelineWithRoot()
	elements := beam.ParDo(s, &source{Each: each, Rate: rate}, beam.Impulse(s))
	side := beam.ParDo(s.Scope("side"), numbers, beam.Impulse(s))
	windowed := beam.WindowInto(s, window.NewFixedWindows(windowSize), elements,
		beam.Trigger(trigger.AfterEndOfWindow().EarlyFiring(trigger.Repeat(trigger.AfterCount(7)))), beam.PanesDiscard())
	panes := beam.ParDo(s, &countPane{}, beam.GroupByKey(s, windowed), beam.SideInput{Input: side})
	counts := beam.ParDo(s, &countState{Count: state.MakeValueState[int64]("count"), Flush: timers.InEventTime("flush")}, elements)
	all := beam.Flatten(s, beam.WindowInto(s, window.NewGlobalWindows(), panes), counts)
	out := beam.ParDo(s, &number{Next: state.MakeValueState[int64]("next")}, all)
	beam.ParDo0(s, &write{Dir: dir, Annotations: map[string][]byte{"summerbeam:stable_input:v1": nil}}, out)
	return p
}

func runJob(dir string, each, rate int64) error {
	return beamx.Run(context.Background(), build(dir, each, rate))
}
