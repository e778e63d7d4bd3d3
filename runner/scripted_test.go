package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/internal/testkit"
)

// These tests run pipelines that the Go SDK has no words for: written as protos, with a
// scripted SDK, by a server, over gRPC.

// notes are what DoFns have seen, each with the key in front.
type notes struct {
	mu  sync.Mutex
	all []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, fmt.Sprintf(format, args...))
}

// expect compares the notes. Those of one key, of panes those of one key and window, are in
// the order in which they came; between them there is none.
func (n *notes) expect(t *testing.T, want ...string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	of := func(note string) string {
		if window, _, ok := strings.Cut(note, " #"); ok {
			return window
		}
		return strings.Fields(note)[0]
	}
	for _, notes := range [][]string{n.all, want} {
		slices.SortStableFunc(notes, func(a, b string) int { return strings.Compare(of(a), of(b)) })
	}
	if !slices.Equal(n.all, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(n.all, "\n  "), strings.Join(want, "\n  "))
	}
	n.all = nil
}

// play runs a pipeline of a scripted SDK on a server to its end.
func play(t *testing.T, s *testServer, b *testkit.Builder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id, err := testkit.Submit(ctx, s.conn, t.Name(), b.P, nil)
	if err == nil {
		err = testkit.Await(ctx, s.conn, id)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// group adds a GroupByKey of strings, in the windows of a strategy.
func group(b *testkit.Builder, id, in, strategy string) {
	b.Add(id, "beam:transform:group_by_key:v1", "", nil, []string{in}, []string{"~" + id + ":kv<string,iterable<string>>@" + strategy})
}

// panes notes the panes of a grouping: window, pane's index, timestamp, values in order.
func panes(to *notes, window func(string) string) testkit.DoFn {
	return testkit.DoFn{Process: func(_ *testkit.Call, e testkit.Element) error {
		p, _, err := coders.ReadPane([]byte(e.Pane))
		if err != nil {
			return err
		}
		to.add("%s %s #%d at %d: %s", testkit.Strs(e.Key)[0], window(e.Window), p.Index, e.Timestamp,
			strings.Join(slices.Sorted(slices.Values(testkit.Values(e.Value))), " "))
		return nil
	}}
}

func interval(window string) string {
	w := testkit.Bounds(window)
	return fmt.Sprintf("[%d,%d)", w.Start, w.End)
}

// named shows a window of testkit.Custom by its name.
func named(window string) string { return testkit.Strs(window[8:])[0] }

// hundreds is a WindowFn whose windows, five ms long, become one if they lie in the same
// hundred ms and there are two or more. encode makes a window, decode returns its start.
func hundreds(encode func(start, end int64) string, decode func(string) int64) testkit.WindowFn {
	return testkit.WindowFn{
		Assign: func(e testkit.Element) []string { return []string{encode(e.Timestamp, e.Timestamp+5)} },
		Merge: func(windows []string) map[string][]string {
			of := make(map[int64][]string)
			for _, w := range windows {
				of[decode(w)/100] = append(of[decode(w)/100], w)
			}
			merged := make(map[string][]string)
			for h, from := range of {
				if into := encode(h*100, h*100+100); len(from) > 1 {
					merged[into] = slices.DeleteFunc(from, func(w string) bool { return w == into })
				}
			}
			return merged
		},
	}
}

// named windows: their start and end are their name, which a runner can't read.
func nameWindow(start, end int64) string {
	return testkit.Custom(end-1, fmt.Sprintf("%d to %d", start, end))
}

func nameStart(window string) (start int64) {
	_, _ = fmt.Sscan(named(window), &start)
	return start
}

// TestMergingCustomWindows: windows merge as the SDK says, with the elements that wait in
// them and what their triggers have counted, be they intervals or such as the runner can't
// read; and the next grouping goes on with the merged ones.
func TestMergingCustomWindows(t *testing.T) {
	s := startServer(t)
	for name, kind := range map[string]struct {
		coder string
		fn    testkit.WindowFn
		show  func(string) string
	}{
		"intervals": {"interval_window", hundreds(testkit.Interval, func(w string) int64 { return testkit.Bounds(w).Start }), interval},
		"named":     {"custom_window<string>", hundreds(nameWindow, nameStart), named},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := &notes{}, &notes{}
			show := func(start, end int64) string {
				if name == "named" {
					return fmt.Sprintf("%d to %d", start, end)
				}
				return fmt.Sprintf("[%d,%d)", start, end)
			}
			sdk := &testkit.SDK{
				Windows: map[string]testkit.WindowFn{"hundreds": kind.fn},
				DoFns: map[string]testkit.DoFn{
					"first":  panes(first, kind.show),
					"second": panes(second, kind.show),
					"again": {Process: func(c *testkit.Call, e testkit.Element) error {
						e.Value = testkit.Str(strings.Join(slices.Sorted(slices.Values(testkit.Values(e.Value))), "+"))
						return c.Emit("", e)
					}},
				},
			}
			play(t, s, hundredsPipeline(sdk.Start(t), kind.coder))
			first.expect(t,
				// Three elements, of which no two have a window of their own.
				"a "+show(0, 100)+" #0 at 99: 1 2 3",
				// The window is there; the count begins anew.
				"a "+show(0, 100)+" #1 at 99: 4 5 6",
				// At the end of time: what is left, and a window that nothing has merged with.
				"a "+show(0, 100)+" #2 at 99: 7",
				"a "+show(250, 255)+" #0 at 254: 8",
				"b "+show(20, 25)+" #0 at 24: 9",
			)
			second.expect(t,
				"a "+show(0, 100)+" #0 at 99: 1+2+3",
				"a "+show(0, 100)+" #1 at 99: 4+5+6",
				"a "+show(0, 100)+" #2 at 99: 7",
				"a "+show(250, 255)+" #0 at 254: 8",
				"b "+show(20, 25)+" #0 at 24: 9",
			)
		})
	}
}

func hundredsPipeline(env *pipepb.Environment, windowCoder string) *testkit.Builder {
	b := testkit.NewScript(env)
	b.Strategy("merging", "hundreds", windowCoder, func(s *pipepb.WindowingStrategy) {
		s.MergeStatus = pipepb.MergeStatus_NEEDS_MERGE
		s.AllowedLateness = 1000
		s.Trigger = &pipepb.Trigger{Trigger: &pipepb.Trigger_Repeat_{Repeat: &pipepb.Trigger_Repeat{
			Subtrigger: &pipepb.Trigger{Trigger: &pipepb.Trigger_ElementCount_{ElementCount: &pipepb.Trigger_ElementCount{ElementCount: 3}}},
		}}}
	})
	// As SDKs write it behind a grouping: the continuation of the trigger.
	b.Strategy("merged", "hundreds", windowCoder, func(s *pipepb.WindowingStrategy) {
		s.MergeStatus = pipepb.MergeStatus_NEEDS_MERGE
		s.AllowedLateness = 1000
		s.Trigger = &pipepb.Trigger{Trigger: &pipepb.Trigger_Repeat_{Repeat: &pipepb.Trigger_Repeat{
			Subtrigger: &pipepb.Trigger{Trigger: &pipepb.Trigger_ElementCount_{ElementCount: &pipepb.Trigger_ElementCount{ElementCount: 1}}},
		}}}
	})
	var events []*pipepb.TestStreamPayload_Event
	for _, e := range []struct {
		at         int64
		key, value string
	}{
		{10, "a", "1"}, {250, "a", "8"}, {20, "b", "9"}, {40, "a", "2"}, {70, "a", "3"},
		{10, "a", "4"}, {80, "a", "5"}, {40, "a", "6"}, {30, "a", "7"},
	} {
		events = append(events, testkit.Elements(testkit.At(e.at, e.key, e.value)))
	}
	b.TestStream("~in:kv<string,string>", events...)
	b.WindowInto("window", "in", "~windowed:kv<string,string>", "merging")
	group(b, "grouped", "windowed", "merged")
	b.ParDo("first", "grouped", nil)
	b.ParDo("again", "grouped", nil, "~regrouped:kv<string,string>@merged")
	group(b, "twice", "regrouped", "merged")
	b.ParDo("second", "twice", nil)
	return b
}

// TestMappedWindows: elements find the window of a side input that the SDK maps theirs to,
// and wait until it is over.
func TestMappedWindows(t *testing.T) {
	s := startServer(t)
	to := &notes{}
	day := func(start int64) string { return nameWindow(start, start+100) }
	sdk := &testkit.SDK{
		Windows: map[string]testkit.WindowFn{
			"tens": {Assign: func(e testkit.Element) []string {
				return []string{testkit.Interval(e.Timestamp/10*10, e.Timestamp/10*10+10)}
			}},
			"days":  {Assign: func(e testkit.Element) []string { return []string{day(e.Timestamp / 100 * 100)} }},
			"today": {Map: func(w string) string { return day(testkit.Bounds(w).Start / 100 * 100) }},
		},
		DoFns: map[string]testkit.DoFn{
			"fork": {Process: func(c *testkit.Call, e testkit.Element) error {
				if testkit.Strs(e.Key)[0] == "side" {
					return c.Emit("i1", e)
				}
				return c.Emit("i0", e)
			}},
			"look": {Process: func(c *testkit.Call, e testkit.Element) error {
				side, err := c.Side("i1", day(testkit.Bounds(e.Window).Start/100*100))
				if err != nil {
					return err
				}
				all := testkit.Strs(side) // keys and values
				to.add("%s sees %s", testkit.Strs(e.Value)[0], strings.Join(all, " "))
				return nil
			}},
		},
	}
	b := testkit.NewScript(sdk.Start(t))
	b.Strategy("tens", "tens", "interval_window", nil)
	b.Strategy("days", "days", "custom_window<string>", nil)
	b.TestStream("~in:kv<string,string>",
		testkit.Elements(testkit.At(50, "main", "1")),
		testkit.Elements(testkit.At(10, "side", "x")),
		testkit.Elements(testkit.At(150, "main", "2")),
		testkit.Elements(testkit.At(110, "side", "y")),
		testkit.Watermark(30),
		testkit.Elements(testkit.At(90, "side", "z")),
	)
	b.ParDo("fork", "in", nil, "~main:kv<string,string>", "~side:kv<string,string>")
	b.WindowInto("tens", "main", "~inTens:kv<string,string>", "tens")
	b.WindowInto("days", "side", "~inDays:kv<string,string>", "days")
	b.ParDo("look", "inTens", func(p *pipepb.ParDoPayload) {
		p.SideInputs = map[string]*pipepb.SideInput{"i1": {
			AccessPattern:   &pipepb.FunctionSpec{Urn: "beam:side_input:iterable:v1"},
			WindowMappingFn: &pipepb.FunctionSpec{Urn: "test:window_mapping:v1", Payload: []byte("today")},
		}}
	})
	b.P.Components.Transforms["look"].Inputs["i1"] = "inDays"
	play(t, s, b)
	to.expect(t, "1 sees side x side z", "2 sees side y")
}

// TestOnWindowExpiration: when a window expires, which is when the watermark has passed its
// end by the allowed lateness, the DoFn hears of each key that it has seen in there, once,
// with its state; what it puts out then is not late. After that the state is gone.
func TestOnWindowExpiration(t *testing.T) {
	s := startServer(t)
	to := &notes{}
	sdk := &testkit.SDK{
		Windows: map[string]testkit.WindowFn{"tens": {Assign: func(e testkit.Element) []string {
			return []string{testkit.Interval(e.Timestamp/10*10, e.Timestamp/10*10+10)}
		}}},
		DoFns: map[string]testkit.DoFn{
			"keep": {
				Process: func(c *testkit.Call, e testkit.Element) error { return c.Append("kept", e.Value) },
				Timer: func(c *testkit.Call, tm testkit.Timer) error {
					kept, err := c.Read("kept")
					if err != nil {
						return err
					}
					for _, v := range testkit.Strs(kept) {
						out := testkit.Element{Key: tm.Key, Value: testkit.Str(v), Window: tm.Window, Timestamp: tm.Hold}
						if err := c.Emit("", out); err != nil {
							return err
						}
					}
					to.add("%s %s %s: %s", testkit.Strs(tm.Key)[0], tm.Family, interval(tm.Window), strings.Join(testkit.Strs(kept), " "))
					return nil
				},
			},
			"panes": panes(to, interval),
		},
	}
	b := testkit.NewScript(sdk.Start(t))
	b.Strategy("tens", "tens", "interval_window", func(s *pipepb.WindowingStrategy) { s.AllowedLateness = 5 })
	b.TestStream("~in:kv<string,string>",
		testkit.Elements(testkit.At(3, "a", "1"), testkit.At(13, "a", "2")),
		testkit.Watermark(12), // the first window is over, and not expired
		testkit.Elements(testkit.At(4, "a", "3")),
		testkit.Watermark(16),
		testkit.Elements(testkit.At(5, "a", "dropped")),
		testkit.Watermark(30),
	)
	b.WindowInto("window", "in", "~windowed:kv<string,string>", "tens")
	b.ParDo("keep", "windowed", func(p *pipepb.ParDoPayload) {
		b.Bag(p, "kept")
		b.Timer(p, "end", "interval_window", pipepb.TimeDomain_EVENT_TIME)
		p.OnWindowExpirationTimerFamilySpec = "end"
	}, "~out:kv<string,string>@tens")
	group(b, "grouped", "out", "tens")
	b.ParDo("panes", "grouped", nil)
	play(t, s, b)
	to.expect(t,
		"a end [0,10): 1 3",
		"a [0,10) #0 at 9: 1 3",
		"a end [10,20): 2",
		"a [10,20) #0 at 19: 2",
	)
}

// TestTimeSortedInput: a key's elements come in the order of their timestamps once the
// watermark has passed them, equal ones in order of arrival, those that come later than the
// allowed lateness not at all. The timers that they set are on time.
func TestTimeSortedInput(t *testing.T) {
	s := startServer(t)
	to := &notes{}
	sdk := &testkit.SDK{DoFns: map[string]testkit.DoFn{
		"sorted": {
			Process: func(c *testkit.Call, e testkit.Element) error {
				before, err := c.Read("seen")
				if err != nil {
					return err
				}
				to.add("%s %d %s after %s", testkit.Strs(e.Key)[0], e.Timestamp, testkit.Strs(e.Value)[0], strings.Join(testkit.Strs(before), ""))
				if err := c.Append("seen", e.Value); err != nil {
					return err
				}
				return c.Set(testkit.Timer{Family: "later", Fire: e.Timestamp + 1, Hold: e.Timestamp + 1})
			},
			Timer: func(_ *testkit.Call, tm testkit.Timer) error {
				to.add("%s timer %d", testkit.Strs(tm.Key)[0], tm.Fire)
				return nil
			},
		},
	}}
	b := testkit.NewScript(sdk.Start(t))
	b.P.Components.WindowingStrategies["global"].AllowedLateness = 5
	b.P.Requirements = append(b.P.Requirements, "beam:requirement:pardo:time_sorted_input:v1")
	b.TestStream("~in:kv<string,string>",
		testkit.Elements(testkit.At(30, "a", "x"), testkit.At(10, "a", "y"), testkit.At(30, "a", "z"), testkit.At(20, "b", "u")),
		testkit.Watermark(25),
		testkit.Elements(testkit.At(22, "a", "v")),       // late, and still in time for its place
		testkit.Elements(testkit.At(12, "a", "dropped")), // of what came before its place is taken
		testkit.Watermark(40),
	)
	b.ParDo("sorted", "in", func(p *pipepb.ParDoPayload) {
		b.Bag(p, "seen")
		b.Timer(p, "later", "global_window", pipepb.TimeDomain_EVENT_TIME)
		p.RequiresTimeSortedInput = true
	})
	play(t, s, b)
	to.expect(t,
		"a 10 y after ", "a timer 11",
		"a 22 v after y", "a 30 x after yv", "a 30 z after yvx", "a timer 31",
		"b 20 u after ", "b timer 21",
	)
}
