package triggers

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/internal/coders"
)

// TestTranscripts runs the trigger transcripts of Beam's Python SDK from the file that
// SUMMERBEAM_TRANSCRIPTS names: apache_beam/testing/data/trigger_transcripts.yaml in its
// wheel. Strategies are made as that SDK makes them, element by element and by the block.
func TestTranscripts(t *testing.T) {
	file := os.Getenv("SUMMERBEAM_TRANSCRIPTS")
	if file == "" {
		t.Skip("SUMMERBEAM_TRANSCRIPTS does not name Beam's trigger_transcripts.yaml: see make conformance-vectors")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	passed, all := 0, 0
	for _, doc := range strings.Split(string(b), "\n---") {
		v, err := parseYAML(doc)
		if err != nil {
			t.Fatal(err)
		}
		spec := v.(map[string]any)
		all++
		ok := true
		for _, batched := range []bool{false, true} {
			ok = t.Run(fmt.Sprintf("%v/batched=%v", spec["name"], batched), func(t *testing.T) {
				err := runTranscript(t, spec, batched)
				want, bad := spec["error"].(string)
				switch {
				case !bad && err != nil:
					t.Error(err)
				case bad && (err == nil || !regexp.MustCompile(want).MatchString(err.Error())):
					t.Errorf("a bad transcript: got %v, want an error with %q", err, want)
				}
			}) && ok
		}
		if ok {
			passed++
		}
	}
	if want := len(regexp.MustCompile(`(?m)^name:`).FindAllString(string(b), -1)); all != want || all == 0 {
		t.Errorf("%d transcripts run, %d are in the file", all, want)
	}
	t.Logf("transcripts: %d of %d, each element by element and by the block", passed, all)
}

func runTranscript(t *testing.T, spec map[string]any, batched bool) error {
	text := func(key, def string) string {
		if v, ok := spec[key].(string); ok {
			return v
		}
		return def
	}
	win, err := parseWindowing(text("window_fn", "GlobalWindows"))
	if err != nil {
		return err
	}
	tr, err := parseTrigger(text("trigger_fn", "Default"))
	if err != nil {
		return err
	}
	ws := &pipepb.WindowingStrategy{
		Trigger:          tr,
		AccumulationMode: pipepb.AccumulationMode_ACCUMULATING,
		ClosingBehavior:  pipepb.ClosingBehavior_EMIT_ALWAYS,
		OnTimeBehavior:   pipepb.OnTimeBehavior_FIRE_ALWAYS,
	}
	if mode := text("accumulation_mode", ""); mode != "" {
		ws.AccumulationMode = pipepb.AccumulationMode_Enum(enum(t, pipepb.AccumulationMode_Enum_value, strings.ToUpper(mode)))
	}
	if ws.AllowedLateness, err = strconv.ParseInt(text("allowed_lateness", "0"), 10, 64); err != nil {
		return err
	}
	switch c := text("timestamp_combiner", "OUTPUT_AT_EOW"); c {
	case "OUTPUT_AT_EOW":
		ws.OutputTime = pipepb.OutputTime_END_OF_WINDOW
	case "OUTPUT_AT_EARLIEST":
		ws.OutputTime = pipepb.OutputTime_EARLIEST_IN_PANE
	case "OUTPUT_AT_LATEST":
		ws.OutputTime = pipepb.OutputTime_LATEST_IN_PANE
	case "OUTPUT_AT_EARLIEST_TRANSFORMED":
		// The model has no such combiner: it is the window function that shifts the
		// timestamps, this one by 100, and the earliest is taken.
		ws.OutputTime = pipepb.OutputTime_EARLIEST_IN_PANE
		win.shift = 100
	default:
		return fmt.Errorf("no timestamp combiner %s", c)
	}
	h := newHarness(t, ws, win)
	h.s = h.s.QuietClosing()
	h.batched = batched

	var seen []pane
	for _, step := range spec["transcript"].([]any) {
		for action, arg := range step.(map[string]any) {
			if action != "expect" && len(seen) > 0 {
				return fmt.Errorf("Unexpected output before %s: %v", action, seen)
			}
			switch action {
			case "input":
				ts, err := ints(arg)
				if err != nil {
					return err
				}
				h.elements(ts...)
			case "watermark":
				ts, err := ints([]any{arg})
				if err != nil {
					return err
				}
				now := h.now
				now.Watermark = ts[0]
				h.advance(now)
			case "expect":
				if seen, err = expect(seen, arg.([]any)); err != nil {
					return err
				}
				continue
			case "state":
				// What it says is about a runner's state, and Beam's own tests pass over it.
			default:
				return fmt.Errorf("no action %s", action)
			}
			seen, _ = h.take()
		}
	}
	if len(seen) > 0 {
		return fmt.Errorf("Unexpected output at the end: %v", seen)
	}
	return nil
}

// expect removes from seen the panes that the descriptions match, each one.
func expect(seen []pane, want []any) ([]pane, error) {
	for _, w := range want {
		d := w.(map[string]any)
		i := slices.IndexFunc(seen, func(p pane) bool {
			is := describe(p)
			for k, v := range d {
				if _, ok := is[k]; !ok {
					panic("no attribute " + k)
				}
				if is[k] != fmt.Sprint(v) {
					return false
				}
			}
			return true
		})
		if i < 0 {
			return nil, fmt.Errorf("Unmatched output: %v in %v", d, seen)
		}
		seen = slices.Delete(slices.Clone(seen), i, i+1)
	}
	return seen, nil
}

// describe returns what a transcript may say of a pane.
func describe(p pane) map[string]string {
	return map[string]string{
		"window":               fmt.Sprint([]int64{p.window.Start, p.window.End - 1}),
		"values":               fmt.Sprint(p.values),
		"timestamp":            fmt.Sprint(p.timestamp),
		"index":                fmt.Sprint(p.pane.Index),
		"nonspeculative_index": fmt.Sprint(p.pane.NonSpeculative),
		"early":                fmt.Sprint(p.pane.Timing == coders.Early),
		"late":                 fmt.Sprint(p.pane.Timing == coders.Late),
		"final":                fmt.Sprint(p.pane.Last),
	}
}

func ints(v any) ([]int64, error) {
	var ns []int64
	for _, x := range v.([]any) {
		n, err := strconv.ParseInt(x.(string), 10, 64)
		if err != nil {
			return nil, err
		}
		ns = append(ns, n)
	}
	return ns, nil
}
