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
	register.DoFn5x0[beam.PaneInfo, beam.Window, beam.EventTime, string, func(*int64) bool](&observe{})
	register.Iter1[int64]()
}

// keyed gives elements their keys. It takes its time if that gives splits a chance.
type keyed struct{ Pause time.Duration }

func (f *keyed) ProcessElement(value int64) (string, int64) {
	time.Sleep(f.Pause)
	return keyOf(value), value
}

// observe notes the panes it gets under the id of its run. Workers are in this process, so
// it need not send them anywhere.
type observe struct{ Run int64 }

func (f *observe) ProcessElement(info beam.PaneInfo, w beam.Window, at beam.EventTime, key string, values func(*int64) bool) {
	p := pane{
		key: key, timestamp: at.Milliseconds(), timing: info.Timing.String(),
		first: info.IsFirst, last: info.IsLast, index: info.Index, settled: info.NonSpeculativeIndex,
	}
	if info.Timing == typex.PaneOnTime {
		p.timing = "on-time"
	}
	if iw, ok := w.(beamwindow.IntervalWindow); ok {
		p.window = window{iw.Start.Milliseconds(), iw.End.Milliseconds()}
	}
	for v := int64(0); values(&v); {
		p.values = append(p.values, v)
	}
	slices.Sort(p.values)
	seen.add(f.Run, p)
}

// observed are the panes of all runs.
type observed struct {
	mu    sync.Mutex
	panes map[int64][]pane
	last  int64
}

var seen = &observed{panes: map[int64][]pane{}}

func (o *observed) add(run int64, p pane) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.panes[run] = append(o.panes[run], p)
}

// begin returns the id of a new run, take its panes.
func (o *observed) begin() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last++
	return o.last
}

func (o *observed) take(run int64) []pane {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer delete(o.panes, run)
	return o.panes[run]
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
	beam.ParDo0(s, &observe{Run: run}, beam.GroupByKey(s, in))
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
	found := false
	for _, ws := range pb.GetComponents().GetWindowingStrategies() {
		if ws.GetAllowedLateness() != marked.Milliseconds() {
			continue
		}
		found = true
		ws.Trigger, ws.AccumulationMode, ws.OutputTime = p.trigger.proto(), p.mode, p.output
		ws.ClosingBehavior, ws.OnTimeBehavior, ws.AllowedLateness = p.closing, p.onTime, p.lateness
	}
	if !found {
		return nil, fmt.Errorf("the windowing strategy is not in the pipeline")
	}
	return pb, nil
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
