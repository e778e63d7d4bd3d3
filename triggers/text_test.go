package triggers

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/internal/coders"
)

// call is a term of the test scripts, in the syntax that Beam's transcripts use:
// Name, Name(arg, ...) or a number; arguments may have names.
type call struct {
	name string
	args []call
	kw   map[string]call
}

func parseCall(s string) (call, error) {
	c, rest, err := readCall(s)
	if err == nil && rest != "" {
		err = fmt.Errorf("%q is left over", rest)
	}
	return c, err
}

func readCall(s string) (c call, rest string, err error) {
	s = strings.TrimSpace(s)
	end := strings.IndexAny(s, "(),=")
	if end < 0 {
		end = len(s)
	}
	c.name, s = strings.TrimSpace(s[:end]), s[end:]
	if c.name == "" {
		return c, s, errors.New("a name or number is missing")
	}
	if !strings.HasPrefix(s, "(") {
		return c, strings.TrimSpace(s), nil
	}
	s = strings.TrimSpace(s[1:])
	for !strings.HasPrefix(s, ")") {
		arg, after, err := readCall(s)
		if err != nil {
			return c, s, err
		}
		if strings.HasPrefix(after, "=") {
			key := arg.name
			if arg, after, err = readCall(after[1:]); err != nil {
				return c, s, err
			}
			if c.kw == nil {
				c.kw = map[string]call{}
			}
			c.kw[key] = arg
		} else {
			c.args = append(c.args, arg)
		}
		if s = after; strings.HasPrefix(s, ",") {
			s = strings.TrimSpace(s[1:])
		} else if !strings.HasPrefix(s, ")") {
			return c, s, fmt.Errorf("no ) after %s", arg.name)
		}
	}
	return c, strings.TrimSpace(s[1:]), nil
}

// num returns argument i, by position or by name, or the default.
func (c call) num(i int, name string, def int64) int64 {
	a, ok := c.kw[name]
	if !ok {
		if i >= len(c.args) {
			return def
		}
		a = c.args[i]
	}
	n, err := strconv.ParseInt(a.name, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", c.name, err))
	}
	return n
}

// parseTrigger reads a trigger by its Python name. Times are in milliseconds.
func parseTrigger(s string) (*pipepb.Trigger, error) {
	c, err := parseCall(s)
	if err != nil {
		return nil, fmt.Errorf("trigger %q: %w", s, err)
	}
	return c.trigger()
}

func (c call) trigger() (*pipepb.Trigger, error) {
	var subs []*pipepb.Trigger
	switch c.name {
	case "AfterAll", "AfterAny", "AfterEach", "OrFinally", "Repeatedly":
		for _, a := range c.args {
			t, err := a.trigger()
			if err != nil {
				return nil, err
			}
			subs = append(subs, t)
		}
	}
	switch c.name {
	case "Default", "DefaultTrigger":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}}, nil
	case "Always":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_Always_{Always: &pipepb.Trigger_Always{}}}, nil
	case "Never":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_Never_{Never: &pipepb.Trigger_Never{}}}, nil
	case "AfterCount":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_ElementCount_{
			ElementCount: &pipepb.Trigger_ElementCount{ElementCount: int32(c.num(0, "count", 0))},
		}}, nil
	case "AfterProcessingTime":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterProcessingTime_{
			AfterProcessingTime: &pipepb.Trigger_AfterProcessingTime{TimestampTransforms: c.transforms()},
		}}, nil
	case "AfterSynchronizedProcessingTime":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterSynchronizedProcessingTime_{
			AfterSynchronizedProcessingTime: &pipepb.Trigger_AfterSynchronizedProcessingTime{},
		}}, nil
	case "AfterWatermark":
		var firings [2]*pipepb.Trigger
		for i, name := range []string{"early", "late"} {
			if a, ok := c.kw[name]; ok {
				t, err := a.trigger()
				if err != nil {
					return nil, err
				}
				firings[i] = t
			}
		}
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterEndOfWindow_{
			AfterEndOfWindow: &pipepb.Trigger_AfterEndOfWindow{EarlyFirings: firings[0], LateFirings: firings[1]},
		}}, nil
	case "AfterEach":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterEach_{
			AfterEach: &pipepb.Trigger_AfterEach{Subtriggers: subs},
		}}, nil
	case "AfterAll":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterAll_{
			AfterAll: &pipepb.Trigger_AfterAll{Subtriggers: subs},
		}}, nil
	case "AfterAny":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterAny_{
			AfterAny: &pipepb.Trigger_AfterAny{Subtriggers: subs},
		}}, nil
	case "OrFinally":
		if len(subs) == 2 {
			return &pipepb.Trigger{Trigger: &pipepb.Trigger_OrFinally_{
				OrFinally: &pipepb.Trigger_OrFinally{Main: subs[0], Finally: subs[1]},
			}}, nil
		}
	case "Repeatedly":
		if len(subs) == 1 {
			return repeatedly(subs[0]), nil
		}
	}
	return nil, fmt.Errorf("no trigger %s with %d arguments", c.name, len(c.args))
}

// transforms reads AfterProcessingTime(delay, period=, offset=).
func (c call) transforms() []*pipepb.TimestampTransform {
	var ts []*pipepb.TimestampTransform
	if d := c.num(0, "delay", 0); d != 0 {
		ts = append(ts, &pipepb.TimestampTransform{TimestampTransform: &pipepb.TimestampTransform_Delay_{
			Delay: &pipepb.TimestampTransform_Delay{DelayMillis: d},
		}})
	}
	if p := c.num(1, "period", 0); p != 0 {
		ts = append(ts, &pipepb.TimestampTransform{TimestampTransform: &pipepb.TimestampTransform_AlignTo_{
			AlignTo: &pipepb.TimestampTransform_AlignTo{Period: p, Offset: c.num(2, "offset", 0)},
		}})
	}
	return ts
}

// windowing is a window function, as far as the tests need it.
type windowing struct {
	assign  func(ts int64) []coders.IntervalWindow
	merging bool
	// shift moves an element's time before the panes' timestamps are made of it.
	shift int64
}

var globalWindow = coders.IntervalWindow{Start: coders.MinTimestamp, End: coders.GlobalWindowMaxTimestamp + 1}

func parseWindowing(s string) (windowing, error) {
	c, err := parseCall(s)
	if err != nil {
		return windowing{}, fmt.Errorf("window function %q: %w", s, err)
	}
	size := c.num(0, "size", 0)
	switch c.name {
	case "GlobalWindows":
		return windowing{assign: func(int64) []coders.IntervalWindow {
			return []coders.IntervalWindow{globalWindow}
		}}, nil
	case "FixedWindows", "CustomTimestampingFixedWindowsWindowFn":
		return windowing{assign: func(ts int64) []coders.IntervalWindow {
			start := ts - mod(ts, size)
			return []coders.IntervalWindow{{Start: start, End: start + size}}
		}}, nil
	case "SlidingWindows":
		period := c.num(1, "period", size)
		return windowing{assign: func(ts int64) []coders.IntervalWindow {
			var ws []coders.IntervalWindow
			for start := ts - mod(ts, period); start > ts-size; start -= period {
				ws = append(ws, coders.IntervalWindow{Start: start, End: start + size})
			}
			return ws
		}}, nil
	case "Sessions":
		return windowing{merging: true, assign: func(ts int64) []coders.IntervalWindow {
			return []coders.IntervalWindow{{Start: ts, End: ts + size}}
		}}, nil
	}
	return windowing{}, fmt.Errorf("no window function %s", c.name)
}

func windowText(w coders.IntervalWindow) string {
	if w == globalWindow {
		return "global"
	}
	return fmt.Sprintf("[%d,%d)", w.Start, w.End)
}

func repeatedly(t *pipepb.Trigger) *pipepb.Trigger {
	return &pipepb.Trigger{Trigger: &pipepb.Trigger_Repeat_{Repeat: &pipepb.Trigger_Repeat{Subtrigger: t}}}
}
