package engine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"pgregory.net/rapid"
)

// fataler is what testing's and rapid's T have in common.
type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func testCoders() map[string]*pipepb.Coder {
	c := func(urn string, parts ...string) *pipepb.Coder {
		return &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: urn}, ComponentCoderIds: parts}
	}
	return map[string]*pipepb.Coder{
		"bytes":    c("beam:coder:bytes:v1"),
		"kv":       c("beam:coder:kv:v1", "bytes", "bytes"),
		"global":   c("beam:coder:global_window:v1"),
		"interval": c("beam:coder:interval_window:v1"),
		"w":        c("beam:coder:windowed_value:v1", "bytes", "global"),
		"wkv":      c("beam:coder:windowed_value:v1", "kv", "global"),
		"ikv":      c("beam:coder:windowed_value:v1", "kv", "interval"),
	}
}

func str(s string) []byte { return append(coders.AppendVarint(nil, int64(len(s))), s...) }

// kv encodes a windowed KV; windows are intervals, none means the global window.
func kv(ts int64, key, value string, windows ...coders.IntervalWindow) []byte {
	n := 1
	var w []byte
	for i, win := range windows {
		w, n = coders.AppendIntervalWindow(w, win), i+1
	}
	b := coders.AppendHeader(nil, ts, w, n, []byte{coders.PaneNoFiring})
	return append(append(b, str(key)...), str(value)...)
}

func block(elements ...[]byte) core.Block {
	var b core.Block
	var data []byte
	for _, e := range elements {
		data = append(data, e...)
	}
	b.Count, b.Bytes, b.Payload = int64(len(elements)), int64(len(data)), data
	return b
}

func testGrouper(t fataler, coder string, ws *pipepb.WindowingStrategy, lim limits) *grouper {
	t.Helper()
	g, err := compileGrouper(&graph.Plan{Coders: testCoders()}, &graph.Stage{Input: &graph.Input{
		Coder: coder, Grouping: &graph.Grouping{Strategy: ws},
	}}, lim)
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	return g
}

// groupsOf decodes rendered groups into "timestamp window key=[values]" lines.
func groupsOf(t fataler, g *grouper, blocks []core.Block) []string {
	t.Helper()
	var out []string
	for data, err := range render(blocks, nil) {
		if err != nil {
			t.Fatalf("render: %v", err)
		}
		for len(data) > 0 {
			ts, err := coders.ReadTimestamp(data)
			if err != nil {
				t.Fatalf("timestamp: %v", err)
			}
			data = data[12:] // the timestamp and the number of windows
			n, err := g.scan.NextWindow(data)
			if err != nil {
				t.Fatalf("window: %v", err)
			}
			window := "global"
			if n > 0 {
				w, _, _ := coders.ReadIntervalWindow(data)
				window = fmt.Sprintf("[%d,%d)", w.Start, w.End)
			}
			data = data[n:]
			pane, n, err := coders.ReadPane(data)
			if err != nil || !pane.First || !pane.Last || pane.Timing != coders.OnTime {
				t.Fatalf("pane %+v, error %v", pane, err)
			}
			data = data[n:]
			key := readStr(&data)
			count := binary.BigEndian.Uint32(data)
			data = data[4:]
			var values []string
			for range count {
				values = append(values, readStr(&data))
			}
			out = append(out, fmt.Sprintf("%d %s %s=%v", ts, window, key, values))
		}
	}
	return out
}

func readStr(b *[]byte) string {
	n, w, _ := coders.ReadVarint(*b)
	s := string((*b)[w : w+int(n)])
	*b = (*b)[w+int(n):]
	return s
}

func TestGroup(t *testing.T) {
	win := func(a, b int64) coders.IntervalWindow { return coders.IntervalWindow{Start: a, End: b} }
	end := pipepb.OutputTime_END_OF_WINDOW
	for _, c := range []struct {
		name    string
		coder   string
		output  pipepb.OutputTime_Enum
		merge   bool
		in      [][]byte
		want    []string
		because string
	}{
		{
			name: "global window", coder: "wkv", output: end,
			in:   [][]byte{kv(5, "a", "1"), kv(3, "b", "2"), kv(9, "a", "3")},
			want: []string{"9223371950454775 global a=[1 3]", "9223371950454775 global b=[2]"},
		}, {
			name: "earliest", coder: "wkv", output: pipepb.OutputTime_EARLIEST_IN_PANE,
			in:   [][]byte{kv(5, "a", "1"), kv(3, "a", "2")},
			want: []string{"3 global a=[1 2]"},
		}, {
			name: "latest", coder: "wkv", output: pipepb.OutputTime_LATEST_IN_PANE,
			in:   [][]byte{kv(5, "a", "1"), kv(3, "a", "2")},
			want: []string{"5 global a=[1 2]"},
		}, {
			name: "fixed windows", coder: "ikv", output: end,
			in:   [][]byte{kv(5, "a", "1", win(0, 10)), kv(13, "a", "2", win(10, 20)), kv(1, "a", "3", win(0, 10))},
			want: []string{"9 [0,10) a=[1 3]", "19 [10,20) a=[2]"},
		}, {
			name: "an element in two windows", coder: "ikv", output: end,
			in:   [][]byte{kv(12, "a", "1", win(0, 20), win(10, 30)), kv(25, "a", "2", win(10, 30))},
			want: []string{"19 [0,20) a=[1]", "29 [10,30) a=[1 2]"},
		}, {
			name: "sessions that overlap merge", coder: "ikv", output: end, merge: true,
			in: [][]byte{
				kv(20, "a", "1", win(20, 30)), kv(0, "a", "2", win(0, 10)), kv(5, "a", "3", win(5, 21)),
				kv(0, "b", "4", win(0, 10)), kv(40, "a", "5", win(40, 50)),
			},
			want: []string{"29 [0,30) a=[2 3 1]", "49 [40,50) a=[5]", "9 [0,10) b=[4]"},
		}, {
			name: "sessions that only touch don't", coder: "ikv", output: end, merge: true,
			in:   [][]byte{kv(0, "a", "1", win(0, 10)), kv(10, "a", "2", win(10, 20))},
			want: []string{"9 [0,10) a=[1]", "19 [10,20) a=[2]"},
		}, {
			name: "merged sessions at their latest element", coder: "ikv", output: pipepb.OutputTime_LATEST_IN_PANE, merge: true,
			in:   [][]byte{kv(7, "a", "1", win(7, 17)), kv(3, "a", "2", win(3, 13))},
			want: []string{"7 [3,17) a=[2 1]"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			ws := &pipepb.WindowingStrategy{OutputTime: c.output}
			if c.merge {
				ws.MergeStatus = pipepb.MergeStatus_NEEDS_MERGE
			}
			g := testGrouper(t, c.coder, ws, limits{blockBytes: 1000, blockElements: 100})
			out, err := g.group(nil, []core.Block{block(c.in...)})
			if err != nil {
				t.Fatal(err)
			}
			got := groupsOf(t, g, out)
			sort.Strings(got)
			sort.Strings(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// TestGroupKeepsEverything: any elements in any blocks come out exactly once, under
// their key and in order, whatever the block limits.
func TestGroupKeepsEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lim := limits{blockBytes: rapid.IntRange(1, 300).Draw(t, "bytes"), blockElements: rapid.Int64Range(1, 20).Draw(t, "elements")}
		g := testGrouper(t, "wkv", &pipepb.WindowingStrategy{OutputTime: pipepb.OutputTime_END_OF_WINDOW}, lim)
		var blocks []core.Block
		want := map[string][]string{}
		n := 0
		for range rapid.IntRange(0, 8).Draw(t, "blocks") {
			var els [][]byte
			for range rapid.IntRange(1, 60).Draw(t, "count") {
				k := fmt.Sprint("key", rapid.IntRange(0, 90).Draw(t, "key"))
				v := fmt.Sprint(n)
				n++
				els = append(els, kv(int64(n), k, v))
				want[k] = append(want[k], v)
			}
			blocks = append(blocks, block(els...))
		}
		out, err := g.group(nil, blocks)
		if err != nil {
			t.Fatal(err)
		}
		lines := groupsOf(t, g, out)
		if len(lines) != len(want) {
			t.Fatalf("%d groups, want %d", len(lines), len(want))
		}
		var count int64
		for _, b := range out {
			count += b.Count
			if b.Count > lim.blockElements {
				t.Fatalf("a block of %d groups, limit %d", b.Count, lim.blockElements)
			}
		}
		if count != int64(len(want)) {
			t.Fatalf("blocks count %d groups, want %d", count, len(want))
		}
		for k, v := range want {
			if line := fmt.Sprintf("%d global %s=%v", coders.GlobalWindowMaxTimestamp, k, v); !slices.Contains(lines, line) {
				t.Fatalf("missing %q in %q", line, lines)
			}
		}
	})
}
