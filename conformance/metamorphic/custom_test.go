package metamorphic

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/internal/testkit"
	"github.com/summerbeam/summerbeam/internal/testkit/seeds"
)

// The Go SDK has no way to write a WindowFn, so these pipelines are a scripted SDK's, which
// says by its own code which windows elements are in, and how windows merge: as sessions do
// ("overlap"), or all that begin in the same ten milliseconds ("blocks"). "steps" don't merge,
// so a DoFn with state may keep what is in them until they expire. To the runner all are
// unknown. Scripts don't combine.

// TestCustomPanes: a pipeline with WindowFns of its own has the panes that the model says.
func TestCustomPanes(t *testing.T) {
	sdk := &testkit.SDK{
		DoFns: map[string]testkit.DoFn{
			"keep":     keep,
			"observe0": {Process: observing(0)},
			"observe1": {Process: observing(1)},
		},
		Windows: map[string]testkit.WindowFn{},
	}
	for _, f := range []windowing{{kind: "overlap", size: 3}, {kind: "overlap", size: 7}, {kind: "blocks"}, {kind: "steps"}} {
		sdk.Windows[f.name()] = f.scripted()
	}
	s := newSite(t)
	s.workers = sdk.Start(t)
	seeds.Rapid(t)
	rapid.Check(t, func(t *rapid.T) {
		p := drawProgram(t, "overlap", "blocks", "steps")
		for _, g := range p.groupings {
			g.combine = false
		}
		w := drawWay(t)
		w.served, w.split, w.crashes = true, false, nil // scripted workers are served, and split nothing
		f := p.run(start)
		if f.unclear() {
			t.Skip("the model leaves it open")
		}
		ctx, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		id := runs.begin()
		if err := w.submit(ctx, s, fmt.Sprintf("custom-%d", id), p.custom(s.workers, id)); err != nil {
			t.Fatalf("%v\nrun by %+v: %v", p, w, err)
		}
		if diff := cmp.Diff(f.lines(), runs.end(id).lines()); diff != "" {
			t.Fatalf("%v\nrun by %+v (-model +run):\n%s", p, w, diff)
		}
	})
}

func (f windowing) name() string { return fmt.Sprint(f.kind, f.size) }

// scripted is the WindowFn as the SDK has it.
func (f windowing) scripted() testkit.WindowFn {
	return testkit.WindowFn{
		Assign: func(e testkit.Element) (windows []string) {
			for _, w := range f.assign(e.Timestamp) {
				windows = append(windows, testkit.Interval(w.start, w.end))
			}
			return windows
		},
		Merge: func(windows []string) map[string][]string {
			merged := make(map[string][]string)
			for _, w := range windows {
				b := testkit.Bounds(w)
				var others []*cell
				for _, o := range windows {
					if ob := testkit.Bounds(o); o != w {
						others = append(others, &cell{window: window{ob.Start, ob.End}})
					}
				}
				into, _ := f.merge(window{b.Start, b.End}, others)
				if to := testkit.Interval(into.start, into.end); to != w {
					merged[to] = append(merged[to], w)
				}
			}
			return merged
		},
	}
}

// observing is the DoFn "observe" as a script. Keys have the number of their run in front.
func observing(grouping int) func(*testkit.Call, testkit.Element) error {
	return func(c *testkit.Call, e testkit.Element) error {
		number, key, _ := strings.Cut(testkit.Strs(e.Key)[0], "/")
		run, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return err
		}
		info, _, err := coders.ReadPane([]byte(e.Pane))
		if err != nil {
			return err
		}
		b := testkit.Bounds(e.Window)
		p := pane{
			grouping: grouping, key: key, window: window{b.Start, b.End}, timestamp: e.Timestamp,
			timing: [...]string{"early", "on-time", "late", "unspecified"}[info.Timing],
			first:  info.First, last: info.Last, index: info.Index, settled: info.NonSpeculative,
		}
		sum := int64(0)
		for _, text := range testkit.Values(e.Value) {
			v, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return err
			}
			p.values, sum = append(p.values, v), sum+v
		}
		slices.Sort(p.values)
		runs.of(run).pane(p)
		e.Value = testkit.Str(fmt.Sprint(sum))
		return c.Emit("", e)
	}
}

// custom makes the program a pipeline of the scripted SDK.
func (p *program) custom(env *pipepb.Environment, run int64) *pipepb.Pipeline {
	b := testkit.NewScript(env)
	var events []*pipepb.TestStreamPayload_Event
	for _, e := range p.events {
		switch {
		case e.elements != nil:
			var all []*pipepb.TestStreamPayload_TimestampedElement
			for _, x := range e.elements {
				all = append(all, testkit.At(x.at, fmt.Sprintf("%d/%s", run, keyOf(x.value)), fmt.Sprint(x.value)))
			}
			events = append(events, testkit.Elements(all...))
		case e.processing > 0:
			events = append(events, testkit.Passes(e.processing))
		default:
			events = append(events, testkit.Watermark(e.watermark))
		}
	}
	b.TestStream("~in:kv<string,string>", events...)
	for i, g := range p.groupings {
		b.Strategy(fmt.Sprint("strategy", i), p.windows.name(), "interval_window", func(s *pipepb.WindowingStrategy) {
			if s.MergeStatus = pipepb.MergeStatus_NON_MERGING; p.windows.merging() {
				s.MergeStatus = pipepb.MergeStatus_NEEDS_MERGE
			}
			s.Trigger, s.AccumulationMode, s.OutputTime = g.trigger.proto(), g.mode, g.output
			s.ClosingBehavior, s.OnTimeBehavior, s.AllowedLateness = g.closing, g.onTime, p.lateness
		})
	}
	b.WindowInto("windows", "in", "~windowed:kv<string,string>", "strategy0")
	in := "windowed"
	if p.keep {
		in = addKeep(b, in)
	}
	last := "strategy" + fmt.Sprint(len(p.groupings)-1)
	for i := range p.groupings {
		grouped := fmt.Sprint("grouped", i)
		b.Add(fmt.Sprint("group", i), "beam:transform:group_by_key:v1", "", nil,
			[]string{in}, []string{"~" + grouped + ":kv<string,iterable<string>>@" + last})
		in = fmt.Sprint("observed", i)
		b.ParDo(fmt.Sprint("observe", i), grouped, nil, "~"+in+":kv<string,string>@"+last)
	}
	return b.P
}
