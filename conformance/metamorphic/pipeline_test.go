package metamorphic

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	beamwindow "github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/typex"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/teststream"
	"google.golang.org/protobuf/proto"
)

func init() {
	register.DoFn1x2[int64, string, int64](&keyed{})
	register.DoFn6x0[beam.PaneInfo, beam.Window, beam.EventTime, string, func(*int64) bool, func(string, int64)](&observe{})
	register.DoFn5x0[beam.Window, beam.EventTime, string, int64, func(string, int64)](&observeSum{})
	register.Combiner1[int64](&sumFn{})
	register.Iter1[int64]()
	register.Emitter2[string, int64]()
}

// keyed gives elements their keys. It takes its time if that gives splits a chance.
type keyed struct{ Pause time.Duration }

func (f *keyed) ProcessElement(value int64) (string, int64) {
	time.Sleep(f.Pause)
	return keyOf(value), value
}

// observe notes the panes it gets under the id of its run, and puts out the sum of each.
// Workers are in this process, so it need not send anywhere what it has noted.
type observe struct {
	Run      int64
	Grouping int
}

func (f *observe) ProcessElement(info beam.PaneInfo, w beam.Window, at beam.EventTime, key string, values func(*int64) bool, emit func(string, int64)) {
	p := pane{
		grouping: f.Grouping, key: key, window: windowOf(w), timestamp: at.Milliseconds(), timing: info.Timing.String(),
		first: info.IsFirst, last: info.IsLast, index: info.Index, settled: info.NonSpeculativeIndex,
	}
	if info.Timing == typex.PaneOnTime {
		p.timing = "on-time"
	}
	sum := int64(0)
	for v := int64(0); values(&v); {
		p.values = append(p.values, v)
		sum += v
	}
	slices.Sort(p.values)
	runs.of(f.Run).pane(p)
	emit(key, sum)
}

// observeSum does the same with panes that were summed up. Which panes these were the Go
// SDK has lost (docs/upstream.md).
type observeSum struct {
	Run      int64
	Grouping int
}

func (f *observeSum) ProcessElement(w beam.Window, at beam.EventTime, key string, sum int64, emit func(string, int64)) {
	runs.of(f.Run).pane(pane{grouping: f.Grouping, key: key, window: windowOf(w), timestamp: at.Milliseconds(), values: []int64{sum}})
	emit(key, sum)
}

// sumFn sums up. Of nothing the sum is 0: panes may be empty.
type sumFn struct{}

func (*sumFn) CreateAccumulator() int64           { return 0 }
func (*sumFn) AddInput(sum, v int64) int64        { return sum + v }
func (*sumFn) MergeAccumulators(a, b int64) int64 { return a + b }

func windowOf(w beam.Window) window {
	if iw, ok := w.(beamwindow.IntervalWindow); ok {
		return window{iw.Start.Milliseconds(), iw.End.Milliseconds()}
	}
	return global
}

// seen is what the DoFns of a run have seen.
type seen struct {
	mu    sync.Mutex
	panes []pane
	notes []note
}

func (s *seen) pane(p pane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.panes = append(s.panes, p)
}

func (s *seen) note(n note) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, n)
}

// registry has what runs see: DoFns know their run by its number only.
type registry struct {
	mu   sync.Mutex
	all  map[int64]*seen
	last int64
}

var runs = &registry{all: map[int64]*seen{}}

// begin returns the number of a new run, end what was seen in it.
func (r *registry) begin() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	r.all[r.last] = &seen{}
	return r.last
}

func (r *registry) of(run int64) *seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[run]
}

func (r *registry) end(run int64) *seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer delete(r.all, run)
	return r.all[run]
}

// fn is the WindowFn as the Go SDK has it.
func (f windowing) fn() *beamwindow.Fn {
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	switch f.kind {
	case "fixed":
		return beamwindow.NewFixedWindows(ms(f.size))
	case "sliding":
		return beamwindow.NewSlidingWindows(ms(f.period), ms(f.size))
	case "sessions":
		return beamwindow.NewSessions(ms(f.size))
	}
	return beamwindow.NewGlobalWindows()
}

// marked is an allowed lateness that nobody draws: it finds the strategy in the proto.
const marked = 987654 * time.Millisecond

// pipeline makes the program a pipeline. The Go SDK can say neither all strategies nor all
// scripts of TestStreams: so these are put into the proto that it makes.
func (p *program) pipeline(env *pipepb.Environment, run int64, pause time.Duration) (*pipepb.Pipeline, error) {
	con := teststream.NewConfig()
	if err := con.AddElements(0, int64(0)); err != nil {
		return nil, err
	}
	bp, s := beam.NewPipelineWithRoot()
	in := beam.ParDo(s, &keyed{Pause: pause}, teststream.Create(s, con))
	in = beam.WindowInto(s, p.windows.fn(), in, beam.AllowedLateness(marked))
	if p.stateful != nil {
		in = beam.ParDo(s, newRemember(run, p.stateful), in)
	}
	for i, g := range p.groupings {
		if g.combine {
			in = beam.ParDo(s, &observeSum{Run: run, Grouping: i}, beam.CombinePerKey(s, &sumFn{}, in))
		} else {
			in = beam.ParDo(s, &observe{Run: run, Grouping: i}, beam.GroupByKey(s, in))
		}
	}
	edges, _, err := bp.Build()
	if err != nil {
		return nil, err
	}
	pb, err := graphx.Marshal(edges, &graphx.Options{Environment: env})
	if err != nil {
		return nil, err
	}
	for _, t := range pb.GetComponents().GetTransforms() {
		if t.GetSpec().GetUrn() != "beam:transform:teststream:v1" {
			continue
		}
		var script pipepb.TestStreamPayload
		if err := proto.Unmarshal(t.Spec.Payload, &script); err != nil {
			return nil, err
		}
		if script.Events, err = p.script(); err != nil {
			return nil, err
		}
		if t.Spec.Payload, err = proto.Marshal(&script); err != nil {
			return nil, err
		}
	}
	return pb, p.strategies(pb.GetComponents())
}

// strategies writes the groupings' strategies into a pipeline: that of the first also into
// what is before it, that of the second into what is between them.
func (p *program) strategies(c *pipepb.Components) error {
	own := func(g *grouping, like *pipepb.WindowingStrategy) *pipepb.WindowingStrategy {
		ws := proto.CloneOf(like)
		ws.Trigger, ws.AccumulationMode, ws.OutputTime = g.trigger.proto(), g.mode, g.output
		ws.ClosingBehavior, ws.OnTimeBehavior, ws.AllowedLateness = g.closing, g.onTime, p.lateness
		return ws
	}
	first := ""
	for id, ws := range c.GetWindowingStrategies() {
		if ws.GetAllowedLateness() == marked.Milliseconds() {
			first = id
		}
	}
	if first == "" {
		return fmt.Errorf("the windowing strategy is not in the pipeline")
	}
	like := c.WindowingStrategies[first]
	c.WindowingStrategies[first] = own(p.groupings[0], like)
	if len(p.groupings) == 1 {
		return nil
	}
	c.WindowingStrategies["second"] = own(p.groupings[1], like)
	// What is behind the first grouping: its output, and all that is made of that.
	behind := make(map[string]bool)
	for again := true; again; {
		again = false
		for _, t := range c.GetTransforms() {
			urn := t.GetSpec().GetUrn()
			grouped := urn == "beam:transform:group_by_key:v1" || urn == "beam:transform:combine_per_key:v1"
			for _, in := range t.GetInputs() {
				grouped = grouped || behind[in]
			}
			for _, out := range t.GetOutputs() {
				if grouped && !behind[out] {
					behind[out], again = true, true
					c.Pcollections[out].WindowingStrategyId = "second"
				}
			}
		}
	}
	return nil
}

func (p *program) script() ([]*pipepb.TestStreamPayload_Event, error) {
	enc := beam.NewElementEncoder(reflect.TypeFor[int64]())
	var events []*pipepb.TestStreamPayload_Event
	for _, e := range p.events {
		ev := &pipepb.TestStreamPayload_Event{}
		switch {
		case e.elements != nil:
			add := &pipepb.TestStreamPayload_Event_AddElements{}
			for _, x := range e.elements {
				var b bytes.Buffer
				if err := enc.Encode(x.value, &b); err != nil {
					return nil, err
				}
				add.Elements = append(add.Elements, &pipepb.TestStreamPayload_TimestampedElement{EncodedElement: b.Bytes(), Timestamp: x.at})
			}
			ev.Event = &pipepb.TestStreamPayload_Event_ElementEvent{ElementEvent: add}
		case e.processing > 0:
			ev.Event = &pipepb.TestStreamPayload_Event_ProcessingTimeEvent{
				ProcessingTimeEvent: &pipepb.TestStreamPayload_Event_AdvanceProcessingTime{AdvanceDuration: e.processing}}
		default:
			ev.Event = &pipepb.TestStreamPayload_Event_WatermarkEvent{
				WatermarkEvent: &pipepb.TestStreamPayload_Event_AdvanceWatermark{NewWatermark: e.watermark}}
		}
		events = append(events, ev)
	}
	return events, nil
}
