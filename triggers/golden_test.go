package triggers

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/internal/coders"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata with what the tests see")

// TestGolden runs the scripts in testdata. A script is blocks with an empty line between
// them: a command, the line ----, and what it is expected to say. Lines with # are
// comments. The commands:
//
//	strategy      begins anew, with a strategy of the fields on the lines below it;
//	elements      a bundle of elements with these timestamps;
//	watermark     the input watermark moves; end is the end of time;
//	processing    processing time moves;
//	synchronized  processing time moves upstream;
//	state         what is kept.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(b))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			diffLines(t, file, got, string(b))
		})
	}
}

func diffLines(t *testing.T, file, got, want string) {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			t.Fatalf("%s:%d\n got: %s\nwant: %s\n(-rewrite accepts it)", file, i+1, a, b)
		}
	}
}

// runScript returns the script with what its commands said.
func runScript(t *testing.T, script string) string {
	var out strings.Builder
	var h *harness
	for _, block := range strings.Split(strings.TrimSpace(script), "\n\n") {
		command, _, _ := strings.Cut(block, "\n----")
		out.WriteString(strings.TrimSpace(command) + "\n")
		var lines []string
		for _, line := range strings.Split(command, "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
		if len(lines) == 0 {
			out.WriteString("\n")
			continue
		}
		name, args, _ := strings.Cut(lines[0], " ")
		var said []string
		if name == "strategy" {
			h, said = scriptStrategy(t, lines[1:])
		} else {
			said = h.command(name, strings.Fields(args))
		}
		out.WriteString("----\n")
		for _, line := range said {
			out.WriteString(line + "\n")
		}
		out.WriteString("\n")
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func scriptStrategy(t *testing.T, lines []string) (*harness, []string) {
	ws := &pipepb.WindowingStrategy{}
	var win windowing
	quiet := false
	for _, line := range lines {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		var err error
		switch key {
		case "window":
			win, err = parseWindowing(value)
		case "trigger":
			ws.Trigger, err = parseTrigger(value)
		case "lateness":
			ws.AllowedLateness, err = strconv.ParseInt(value, 10, 64)
		case "mode":
			ws.AccumulationMode = pipepb.AccumulationMode_Enum(enum(t, pipepb.AccumulationMode_Enum_value, value))
		case "output":
			ws.OutputTime = pipepb.OutputTime_Enum(enum(t, pipepb.OutputTime_Enum_value, value))
		case "closing":
			ws.ClosingBehavior = pipepb.ClosingBehavior_Enum(enum(t, pipepb.ClosingBehavior_Enum_value, value))
		case "on-time":
			ws.OnTimeBehavior = pipepb.OnTimeBehavior_Enum(enum(t, pipepb.OnTimeBehavior_Enum_value, value))
		case "quiet":
			quiet = true
		default:
			err = fmt.Errorf("no field %q", key)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	h := newHarness(t, ws, win)
	if quiet {
		h.s = h.s.QuietClosing()
	}
	if h.s.PerElement() {
		return h, []string{"element by element"}
	}
	return h, []string{"by the block"}
}

func enum(t *testing.T, values map[string]int32, name string) int32 {
	v, ok := values[name]
	if !ok {
		t.Fatalf("no value %q in %v", name, values)
	}
	return v
}

func (h *harness) command(name string, args []string) []string {
	var nums []int64
	for _, a := range args {
		n, err := strconv.ParseInt(a, 10, 64)
		if a == "end" {
			n, err = coders.MaxTimestamp, nil
		}
		if err != nil {
			h.t.Fatal(err)
		}
		nums = append(nums, n)
	}
	now := h.now
	switch name {
	case "elements":
		h.elements(nums...)
	case "watermark":
		now.Watermark = nums[0]
		h.advance(now)
	case "processing":
		now.Processing = nums[0]
		h.advance(now)
	case "synchronized":
		now.Synchronized = nums[0]
		h.advance(now)
	case "state":
		return h.state()
	default:
		h.t.Fatalf("no command %q", name)
	}
	var said []string
	panes, dropped := h.take()
	for _, p := range panes {
		said = append(said, p.String())
	}
	return append(said, dropped...)
}

// state describes the windows' states.
func (h *harness) state() []string {
	said := []string{"output watermark " + timeText(h.now.Output)}
	for _, w := range h.windows() {
		c := h.cell[w]
		line := fmt.Sprintf("%s holds %s, wakes at %s", windowText(w), timeText(c.hold), timeText(c.wake.Watermark))
		if c.wake.Processing != Never {
			line += fmt.Sprintf(", processing %d", c.wake.Processing)
		}
		if c.wake.Synchronized != Never {
			line += fmt.Sprintf(", synchronized %d", c.wake.Synchronized)
		}
		said = append(said, fmt.Sprintf("%s, state %x, buffer %v", line, c.state, c.values))
	}
	return said
}
