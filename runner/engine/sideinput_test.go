package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"pgregory.net/rapid"
)

func testSide(t fataler, pattern string, windows *graph.SideWindows, keep *keeper) *sideInput {
	t.Helper()
	side, err := newSideInput(&graph.Plan{Coders: testCoders()}, &graph.Stage{Name: "s"},
		&graph.SideInput{Transform: "t", Local: "i1", Coder: "ikv", Pattern: pattern, Windows: windows}, keep)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return side
}

// readPages follows the continuation tokens, and takes the strings apart.
func readPages(t fataler, what string, look func(token []byte) (data, next []byte, err error)) (out []string) {
	t.Helper()
	for token := []byte(nil); ; {
		data, next, err := look(token)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for len(data) > 0 {
			out = append(out, readStr(&data))
		}
		if token = next; token == nil {
			return out
		}
	}
}

// TestSideInputs: lookups in memory and on disk return what a map would have.
func TestSideInputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		windows := rapid.IntRange(1, 5).Draw(t, "windows")
		keys := rapid.IntRange(1, 30).Draw(t, "keys")
		size := rapid.SampledFrom([]int{0, 5, 300, 20_000}).Draw(t, "size")
		want := make(map[string][]string) // by window, by window and key
		wantKeys := make(map[string][]string)
		encoded := func(i int) string {
			return string(coders.AppendIntervalWindow(nil, coders.IntervalWindow{Start: int64(i) * 10, End: int64(i+1) * 10}))
		}
		var blocks []core.Block
		n := 0
		for range rapid.IntRange(0, 20).Draw(t, "blocks") {
			var els [][]byte
			for range rapid.IntRange(1, 40).Draw(t, "count") {
				n++
				k := strings.Repeat("k", n%3) + fmt.Sprint(n*n%keys)
				if n%7 == 0 {
					k = ""
				}
				v := fmt.Sprintf("%0*d", size, n)
				w := n * 31 % windows
				els = append(els, kv(int64(w*10), k, v, coders.IntervalWindow{Start: int64(w) * 10, End: int64(w+1) * 10}))
				id := encoded(w)
				want[id] = append(want[id], k, v)
				if want[id+"/"+k] == nil {
					wantKeys[id] = append(wantKeys[id], k)
				}
				want[id+"/"+k] = append(want[id+"/"+k], v)
			}
			blocks = append(blocks, block(els...))
		}
		keep := testKeeper(t, int64(1)<<rapid.IntRange(10, 24).Draw(t, "budget"))
		blocks = keepAll(t, keep, blocks)
		list := testSide(t, "beam:side_input:iterable:v1", nil, keep)
		multi := testSide(t, urnMultimapSide, nil, keep)
		for i := range blocks {
			own := blocks[i]
			data, err := payloadBytes(own.Payload)
			if err != nil {
				t.Fatal(err)
			}
			own.Payload = slices.Clone(data)
			keep.hold(&own)
			list.add(own)
			multi.add(blocks[i])
		}
		list.seal()
		multi.seal()
		ctx := context.Background()
		same := func(what string, got, want []string) {
			got, want = slices.Clone(got), slices.Clone(want)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("%s: got %d strings, want %d", what, len(got), len(want))
			}
		}
		for i := range windows + 1 {
			id := encoded(i)
			w := []byte(id)
			same("all", readPages(t, "all", func(token []byte) (data, next []byte, err error) { return list.lookup(ctx, w, token) }), want[id])
			same("keys", readPages(t, "keys", func(token []byte) (data, next []byte, err error) { return multi.lookupKeys(ctx, w, token) }), wantKeys[id])
			for _, k := range append(wantKeys[id], "none") {
				got := readPages(t, "values", func(token []byte) (data, next []byte, err error) { return multi.lookupKey(ctx, w, str(k), token) })
				if !slices.Equal(got, want[id+"/"+k]) {
					t.Fatalf("values of %q: got %d, want %d, or in another order", k, len(got), len(want[id+"/"+k]))
				}
			}
		}
		if used := keep.mem.usage(); used.Queue != 0 || used.Grouping != 0 {
			t.Fatalf("left on the books: %+v", used)
		}
	})
}

// mapToTens answers as a worker whose window mapping is to tens.
func mapToTens(_ context.Context, _ *graph.Question, in []byte, n int64) ([]byte, error) {
	var out []byte
	for range n {
		in = in[13:] // the header of an element in the global window
		nonce := readStr(&in)
		w, k, err := coders.ReadIntervalWindow(in)
		if err != nil {
			return nil, err
		}
		in = in[k:]
		out = coders.AppendHeader(out, 0, nil, 1, []byte{coders.PaneNoFiring})
		out = append(out, str(nonce)...)
		start := w.Max() / 10 * 10
		out = coders.AppendIntervalWindow(out, coders.IntervalWindow{Start: start, End: start + 10})
	}
	return out, nil
}

// waitStage is a stage that waits for windows of ten of a side input; its own are of five.
func waitStage(t fataler, keep *keeper, ask asker) *stageRun {
	t.Helper()
	all := testCoders()

	side, err := newSideInput(&graph.Plan{Coders: testCoders2()}, &graph.Stage{Name: "s"}, &graph.SideInput{
		Transform: "t", Local: "i1", Coder: "ikv",
		Windows: &graph.SideWindows{WindowCoder: "interval", AllowedLateness: 3, Mapping: &graph.Question{OutputCoder: "answer"}},
	}, keep)
	if err != nil {
		t.Fatalf("%v", err)
	}
	side.windows.ask = ask
	scan, err := coders.CompileWindowed(all, "ikv")
	if err != nil {
		t.Fatalf("%v", err)
	}
	return &stageRun{plan: &graph.Stage{Name: "s"}, input: scan, sideList: []*sideInput{side}}
}

func testCoders2() map[string]*pipepb.Coder {
	all := testCoders()
	all["pair"] = &pipepb.Coder{Spec: all["kv"].Spec, ComponentCoderIds: []string{"bytes", "interval"}}
	all["answer"] = &pipepb.Coder{Spec: all["w"].Spec, ComponentCoderIds: []string{"pair", "global"}}
	return all
}

func five(start int64) coders.IntervalWindow {
	return coders.IntervalWindow{Start: start, End: start + 5}
}

// TestElementsWaitForWindows: a bundle's input is cut by what its elements wait for,
// in order, and what is over is dropped.
func TestElementsWaitForWindows(t *testing.T) {
	asked := 0
	st := waitStage(t, nil, func(ctx context.Context, q *graph.Question, in []byte, n int64) ([]byte, error) {
		asked++
		return mapToTens(ctx, q, in, n)
	})
	describe := func(b core.Block) string {
		data, err := payloadBytes(b.Payload)
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		var e coders.Element
		for len(data) > 0 {
			n, err := st.input.Next(data, &e)
			if err != nil {
				t.Fatal(err)
			}
			key := e.Key
			keys = append(keys, readStr(&key)+strings.Repeat("'", e.NumWindows-1))
			data = data[n:]
		}
		if int(b.Count) != len(keys) {
			t.Errorf("a block of %d counts %d", len(keys), b.Count)
		}
		return fmt.Sprintf("%s from %d", strings.Join(keys, ""), b.Hold)
	}
	run := core.RunBundle{Bundle: 7, Event: 9, Sides: []int64{12}, Blocks: []core.Block{
		block(kv(11, "a", "", five(10)), kv(1, "b", "", five(0)), kv(3, "c", "", five(0)), kv(14, "d", "", five(10)), kv(2, "e", "", five(0), five(10))),
		block(kv(7, "f", "", five(5))),
		block(kv(21, "g", "", five(20)), kv(22, "h", "", five(20))),
	}}
	ev, late, err := st.waits(t.Context(), &run)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range ev.Ready {
		got = append(got, describe(b))
	}
	for _, w := range ev.Waiting {
		got = append(got, fmt.Sprintf("%s until %d", describe(w.Block), w.For[0].Until))
	}
	want := []string{"f from 0", "a from 11 until 19", "d from 14 until 19", "e from 2 until 19", "gh from 0 until 29"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if late != 3 {
		t.Errorf("%d were late, want b, c and one of e's: their window ended at 4, and 3 of lateness are over at 9", late)
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	run.Sides[0], run.Event = 30, 0
	if ev, _, err := st.waits(t.Context(), &run); ev != nil || err != nil {
		t.Errorf("got %v, %v once all windows are over", ev, err)
	}
	if asked != 1 {
		t.Error("asked again for windows that are known")
	}
}

// TestSideWindowsGo: windows that nobody can want any more are dropped, no others, and a
// lookup of one that is gone says so.
func TestSideWindowsGo(t *testing.T) {
	keep := testKeeper(t, 1<<20)
	st := waitStage(t, keep, mapToTens)
	side := st.sideList[0]
	ten := func(i int64) coders.IntervalWindow { return coders.IntervalWindow{Start: i * 10, End: i*10 + 10} }
	for i := range int64(400) {
		side.add(block(kv(i*10, "k", "v", ten(i))))
		if _, err := side.windows.of(t.Context(), []string{string(coders.AppendIntervalWindow(nil, five(i*10)))}, []int64{i*10 + 4}); err != nil {
			t.Fatal(err)
		}
	}
	look := func(i int64) (string, error) {
		data, _, err := side.lookup(t.Context(), coders.AppendIntervalWindow(nil, ten(i)), nil)
		return string(data), err
	}
	if data, err := look(0); err != nil || data == "" {
		t.Fatalf("window 0: %q, %v", data, err)
	}
	full := keep.mem.usage().SideInputs
	side.sweep(2000)
	if _, err := look(100); err == nil {
		t.Error("window 100 is still there at 2000")
	}
	for _, i := range []int64{199, 200, 399} {
		if data, err := look(i); err != nil || data == "" {
			t.Errorf("window %d: %q, %v", i, data, err)
		}
	}
	if now := keep.mem.usage().SideInputs; now > full*6/10 {
		t.Errorf("%d of %d bytes left with half of the windows", now, full)
	}
	side.sweep(2100) // too soon
	if _, err := look(202); err != nil {
		t.Error(err)
	}
}

// TestLatestPane: where windows never end, a pane takes the place of those before it.
func TestLatestPane(t *testing.T) {
	side := testSide(t, urnMultimapSide, nil, nil)
	side.windows = &sideWindows{latest: true, plan: &graph.SideWindows{}, side: side.scan.Window(), ends: make(map[string]int64), gone: core.MinTime}
	close(side.sealed)
	at := func(pane int64, key string) core.Block {
		w := coders.IntervalWindow{Start: 0, End: 10}
		b := coders.AppendHeader(nil, 1, coders.AppendIntervalWindow(nil, w), 1, coders.AppendPane(nil, coders.Pane{Index: pane}))
		return block(append(append(b, str(key)...), str("v")...))
	}
	keys := func() []string {
		return readPages(t, "keys", func(token []byte) (data, next []byte, err error) {
			return side.lookupKeys(t.Context(), coders.AppendIntervalWindow(nil, coders.IntervalWindow{Start: 0, End: 10}), token)
		})
	}
	side.add(at(0, "a"))
	side.add(at(0, "b"))
	if got := keys(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q", got)
	}
	side.add(at(1, "c"))
	side.add(at(1, "d"))
	if got := keys(); !slices.Equal(got, []string{"c", "d"}) {
		t.Errorf("got %q after the next pane", got)
	}
}

// FuzzMappedWindows: whatever a worker answers, it is taken apart or refused.
func FuzzMappedWindows(f *testing.F) {
	plan := &graph.Plan{Coders: testCoders2()}
	s, err := newSideWindows(plan, &graph.SideWindows{WindowCoder: "interval", Mapping: &graph.Question{OutputCoder: "answer"}})
	if err != nil {
		f.Fatal(err)
	}
	in := coders.AppendHeader(nil, 0, nil, 1, []byte{coders.PaneNoFiring})
	in = append(in, str(string(binary.AppendUvarint(nil, 0)))...)
	in = coders.AppendIntervalWindow(in, five(5))
	good, _ := mapToTens(context.Background(), nil, in, 1)
	f.Add(good, 1)
	f.Add(good, 2)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		if n < 0 || n > 100 {
			return
		}
		if out, err := s.read(data, n); err == nil && len(out) != n {
			t.Errorf("%d answers to %d questions", len(out), n)
		}
	})
}
