package coders

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/coder"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx/schema"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/typex"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// sample is a coder, in the SDK's terms and in protos, and a value of it.
type sample struct {
	sdk   *coder.Coder
	expr  string
	value any
}

func (s sample) full() *exec.FullValue {
	if v, ok := s.value.(*exec.FullValue); ok {
		return v
	}
	return &exec.FullValue{Elm: s.value}
}

func (s sample) encode(t *rapid.T) []byte {
	var b bytes.Buffer
	if err := exec.MakeElementEncoder(s.sdk).Encode(s.full(), &b); err != nil {
		t.Fatalf("%s: %v", s.expr, err)
	}
	return b.Bytes()
}

// drawSample draws a coder and a value of it.
func drawSample(t *rapid.T, depth int) sample {
	return drawValue(t, drawCoder(t, depth))
}

func drawCoder(t *rapid.T, depth int) sample {
	leaves := []sample{
		{sdk: coder.NewBytes(), expr: "bytes"}, {sdk: coder.NewString(), expr: "string"},
		{sdk: coder.NewBool(), expr: "bool"}, {sdk: coder.NewVarInt(), expr: "varint"}, {sdk: coder.NewDouble(), expr: "double"},
	}
	if depth == 0 || rapid.Bool().Draw(t, "leaf") {
		return rapid.SampledFrom(leaves).Draw(t, "coder")
	}
	kind := rapid.SampledFrom([]coder.Kind{coder.KV, coder.Iterable, coder.Nullable, coder.LP, coder.ShardedKey}).Draw(t, "kind")
	a := drawCoder(t, depth-1)
	out := sample{sdk: &coder.Coder{Kind: kind, Components: []*coder.Coder{a.sdk}}}
	switch kind {
	case coder.KV:
		b := drawCoder(t, depth-1)
		out.sdk.Components = append(out.sdk.Components, b.sdk)
		out.expr = "kv(" + a.expr + "," + b.expr + ")"
	case coder.Iterable:
		// The SDK's encoder takes the elements for plain values, so they can't be pairs.
		if a.sdk.Kind == coder.KV || a.sdk.Kind == coder.ShardedKey || a.sdk.Kind == coder.Nullable || a.sdk.Kind == coder.LP {
			return a
		}
		out.expr = "iterable(" + a.expr + ")"
	case coder.Nullable:
		if a.sdk.Kind == coder.Nullable {
			return a
		}
		out.expr = "nullable(" + a.expr + ")"
	case coder.LP:
		out.expr = "lp(" + a.expr + ")"
	case coder.ShardedKey:
		// Its encoder takes the key for a plain value.
		if a.sdk.Kind == coder.KV || a.sdk.Kind == coder.ShardedKey || a.sdk.Kind == coder.Nullable || a.sdk.Kind == coder.LP {
			return a
		}
		out.expr = "sharded(" + a.expr + ")"
	}
	return out
}

func drawValue(t *rapid.T, s sample) sample {
	part := func(i int) any { return drawValue(t, sample{sdk: s.sdk.Components[i]}).value }
	switch s.sdk.Kind {
	case coder.Bytes:
		s.value = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "bytes")
	case coder.String:
		s.value = rapid.String().Draw(t, "string")
	case coder.Bool:
		s.value = rapid.Bool().Draw(t, "bool")
	case coder.VarInt:
		s.value = rapid.Int64().Draw(t, "varint")
	case coder.Double:
		s.value = rapid.Float64().Draw(t, "double")
	case coder.KV:
		s.value = &exec.FullValue{Elm: part(0), Elm2: part(1)}
	case coder.Iterable:
		list := make([]any, rapid.IntRange(0, 3).Draw(t, "length"))
		for i := range list {
			list[i] = part(0)
		}
		s.value = list
	case coder.Nullable:
		if rapid.Bool().Draw(t, "null") {
			s.value = &exec.FullValue{}
			return s
		}
		s.value = part(0)
	case coder.LP:
		s.value = part(0)
	case coder.ShardedKey:
		s.value = &exec.FullValue{Elm: part(0), Elm2: rapid.SliceOf(rapid.Byte()).Draw(t, "shard")}
	}
	return s
}

// What the SDK writes is skipped whole; whatever is cut from it is missed.
func TestSkipAsSDK(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSample(t, 4)
		b := s.encode(t)
		scanner := compile(s.expr)
		if n, err := scanner.Skip(append(b[:len(b):len(b)], 0xff)); err != nil || n != len(b) {
			t.Fatalf("%s: Skip(%x) = %d, %v; want %d", s.expr, b, n, err, len(b))
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if n, err := scanner.Skip(b[:cut]); err != ErrShort {
			t.Fatalf("%s: Skip(%x) = %d, %v; want ErrShort", s.expr, b[:cut], n, err)
		}
	})
}

type inner struct {
	X *int64
	M map[string]*float32
}

type outer struct {
	A string
	B []byte
	C *bool
	D []*string
	E inner
	F []inner
	G float64
	H uint32
	I int
	J [2]uint8
	K int8
}

// Rows whose schema tells the truth (see Known) are skipped as the SDK writes them.
func TestSkipRowAsSDK(t *testing.T) {
	s, err := schema.FromType(reflect.TypeFor[outer]())
	if err != nil {
		t.Fatal(err)
	}
	coders := map[string]*pipepb.Coder{"row": {Spec: &pipepb.FunctionSpec{Urn: urnRow, Payload: must(proto.Marshal(s))}}}
	scanner, err := Compile(coders, "row")
	if err != nil {
		t.Fatal(err)
	}
	encode, err := coder.RowEncoderForStruct(reflect.TypeFor[outer]())
	if err != nil {
		t.Fatal(err)
	}
	gen := rapid.Make[outer]()
	rapid.Check(t, func(t *rapid.T) {
		v := gen.Draw(t, "row")
		var b bytes.Buffer
		if err := encode(v, &b); err != nil {
			t.Fatal(err)
		}
		if n, err := scanner.Skip(b.Bytes()); err != nil || n != b.Len() {
			t.Fatalf("Skip(%x) = %d, %v; want %d", b.Bytes(), n, err, b.Len())
		}
		if n, err := scanner.Skip(b.Bytes()[:rapid.IntRange(0, b.Len()-1).Draw(t, "cut")]); err != ErrShort {
			t.Fatalf("cut: %d, %v; want ErrShort", n, err)
		}
	})
}

// header is a windowed value's header as the SDK has it and as we have it.
type header struct {
	time    mtime.Time
	windows []typex.Window
	pane    typex.PaneInfo
	kind    string

	encodedWindows []byte
	ours           Pane
}

func drawHeader(t *rapid.T) header {
	h := header{
		time: mtime.Time(rapid.Int64Range(MinTimestamp, MaxTimestamp).Draw(t, "time")),
		kind: rapid.SampledFrom([]string{"global", "interval"}).Draw(t, "windows"),
		ours: drawPane(t),
	}
	h.pane = sdkPane(h.ours)
	if h.kind == "global" {
		h.windows = window.SingleGlobalWindow
		return h
	}
	for range rapid.IntRange(0, 3).Draw(t, "count") {
		w := IntervalWindow{Start: rapid.Int64Range(MinTimestamp, MaxTimestamp).Draw(t, "start")}
		w.End = rapid.Int64Range(w.Start, MaxTimestamp).Draw(t, "end")
		h.windows = append(h.windows, window.IntervalWindow{Start: mtime.Time(w.Start), End: mtime.Time(w.End)})
		h.encodedWindows = AppendIntervalWindow(h.encodedWindows, w)
	}
	return h
}

func (h header) encoder() exec.WindowEncoder {
	if h.kind == "global" {
		return exec.MakeWindowEncoder(coder.NewGlobalWindow())
	}
	return exec.MakeWindowEncoder(coder.NewIntervalWindow())
}

// drawPane draws a pane that is legal: indices of its own only where they may differ.
func drawPane(t *rapid.T) Pane {
	p := Pane{
		First:  rapid.Bool().Draw(t, "first"),
		Last:   rapid.Bool().Draw(t, "last"),
		Timing: Timing(rapid.IntRange(0, 3).Draw(t, "timing")),
	}
	if p.Timing == UnknownTiming {
		return p
	}
	index := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Min(0))
	p.Index, p.NonSpeculative = index.Draw(t, "index"), -1
	if p.Timing != Early {
		p.NonSpeculative = min(p.Index, index.Draw(t, "nonspeculative"))
	}
	return p
}

func sdkPane(p Pane) typex.PaneInfo {
	return typex.PaneInfo{IsFirst: p.First, IsLast: p.Last, Timing: typex.PaneTiming(p.Timing), Index: p.Index, NonSpeculativeIndex: p.NonSpeculative}
}

func TestPaneAsSDK(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPane(t)
		var want bytes.Buffer
		if err := coder.EncodePane(sdkPane(p), &want); err != nil {
			t.Fatal(err)
		}
		b := AppendPane(nil, p)
		if !bytes.Equal(b, want.Bytes()) {
			t.Fatalf("%+v: %x, the SDK writes %x", p, b, want.Bytes())
		}
		got, n, err := ReadPane(append(b, 0xff))
		if got != p || n != len(b) || err != nil {
			t.Fatalf("%+v reads as %+v, %d, %v", p, got, n, err)
		}
	})
}

func TestWindowedAsSDK(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, s := drawHeader(t), drawSample(t, 3)
		var buf bytes.Buffer
		if err := exec.EncodeWindowedValueHeader(h.encoder(), h.windows, typex.EventTime(h.time), h.pane, &buf); err != nil {
			t.Fatal(err)
		}
		head := bytes.Clone(buf.Bytes())
		pane := AppendPane(nil, h.ours)
		if got := AppendHeader(nil, int64(h.time), h.encodedWindows, len(h.windows), pane); !bytes.Equal(got, head) {
			t.Fatalf("AppendHeader = %x, the SDK writes %x", got, head)
		}
		value := s.encode(t)
		b := append(head, value...)

		w := compileWindowed(fmt.Sprintf("wv(%s,%s)", s.expr, h.kind))
		var e Element
		n, err := w.Next(append(b[:len(b):len(b)], 0xff), &e)
		if err != nil || n != len(b) {
			t.Fatalf("Next(%x) = %d, %v; want %d", b, n, err, len(b))
		}
		if e.Timestamp != int64(h.time) || e.NumWindows != len(h.windows) ||
			!bytes.Equal(e.Windows, h.encodedWindows) || !bytes.Equal(e.Pane, pane) {
			t.Fatalf("header %x reads as %+v", head, e)
		}
		if !bytes.Equal(append(bytes.Clone(e.Key), e.Value...), value) {
			t.Fatalf("element %x reads as %x and %x", value, e.Key, e.Value)
		}
		if w.Keyed() != (s.sdk.Kind == coder.KV) {
			t.Fatalf("%s: Keyed() = %v", s.expr, w.Keyed())
		}
		if kv, ok := s.value.(*exec.FullValue); ok && w.Keyed() {
			key := sample{sdk: s.sdk.Components[0], value: kv.Elm}.encode(t)
			if !bytes.Equal(e.Key, key) {
				t.Fatalf("key %x, want %x", e.Key, key)
			}
		}
		if n, err := w.Next(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")], &e); err != ErrShort {
			t.Fatalf("cut: %d, %v; want ErrShort", n, err)
		}
		rest := h.encodedWindows
		for _, want := range h.windows {
			millis, err := w.WindowMax(rest)
			if err != nil || millis != int64(want.MaxTimestamp()) {
				t.Fatalf("WindowMax(%v) = %d, %v", want, millis, err)
			}
			n, err := w.NextWindow(rest)
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if len(rest) > 0 {
			t.Fatalf("%d bytes are behind the windows", len(rest))
		}
	})
}

func TestTimerAsSDK(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, key := drawHeader(t), drawSample(t, 2)
		tag := rapid.String().Draw(t, "tag")
		hold := rapid.Int64Range(MinTimestamp, MaxTimestamp).Draw(t, "hold")
		wc := coder.NewGlobalWindow()
		if h.kind == "interval" {
			wc = coder.NewIntervalWindow()
		}
		timer := sample{
			sdk:  &coder.Coder{Kind: coder.Timer, Components: []*coder.Coder{key.sdk}, Window: wc},
			expr: fmt.Sprintf("timer(%s,%s)", key.expr, h.kind),
			value: exec.TimerRecv{Key: key.full(), Windows: h.windows, Pane: h.pane, TimerMap: timers.TimerMap{
				Tag: tag, Clear: rapid.Bool().Draw(t, "clear"), FireTimestamp: h.time, HoldTimestamp: mtime.Time(hold),
			}},
		}
		want := TimerElement{Key: key.encode(t), Tag: []byte(tag), Windows: h.encodedWindows, NumWindows: len(h.windows)}
		if want.Clear = timer.value.(exec.TimerRecv).Clear; !want.Clear {
			want.Fire, want.Hold, want.Pane = int64(h.time), hold, AppendPane(nil, h.ours)
		}
		b := timer.encode(t)
		if got := AppendTimer(nil, &want); !bytes.Equal(got, b) {
			t.Fatalf("AppendTimer = %x, the SDK writes %x", got, b)
		}
		scanner := must(CompileTimer(parse(timer.expr)))
		var e TimerElement
		n, err := scanner.Next(append(b[:len(b):len(b)], 0xff), &e)
		if err != nil || n != len(b) {
			t.Fatalf("%s: Next(%x) = %d, %v; want %d", timer.expr, b, n, err, len(b))
		}
		if !bytes.Equal(e.Key, want.Key) || string(e.Tag) != tag || !bytes.Equal(e.Windows, want.Windows) || e.NumWindows != want.NumWindows ||
			e.Clear != want.Clear || e.Fire != want.Fire || e.Hold != want.Hold || !bytes.Equal(e.Pane, want.Pane) {
			t.Fatalf("%x reads as %+v, want %+v", b, e, want)
		}
		if n, err := scanner.Next(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")], &e); err != ErrShort {
			t.Fatalf("cut: %d, %v; want ErrShort", n, err)
		}
	})
}

func TestScalarsAsSDK(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64().Draw(t, "v")
		var b bytes.Buffer
		if err := coder.EncodeVarInt(v, &b); err != nil {
			t.Fatal(err)
		}
		if got := AppendVarint(nil, v); !bytes.Equal(got, b.Bytes()) {
			t.Fatalf("AppendVarint(%d) = %x, the SDK writes %x", v, got, b.Bytes())
		}
		b.Reset()
		if err := coder.EncodeEventTime(typex.EventTime(v), &b); err != nil {
			t.Fatal(err)
		}
		if got := AppendTimestamp(nil, v); !bytes.Equal(got, b.Bytes()) {
			t.Fatalf("AppendTimestamp(%d) = %x, the SDK writes %x", v, got, b.Bytes())
		}
		if got, err := ReadTimestamp(b.Bytes()); got != v || err != nil {
			t.Fatalf("ReadTimestamp = %d, %v; want %d", got, err, v)
		}
	})
}

// The bounds of time are options of the model's enum values.
func TestTimeBounds(t *testing.T) {
	for number, want := range map[pipepb.BeamConstants_Constants]int64{
		pipepb.BeamConstants_MIN_TIMESTAMP_MILLIS:               MinTimestamp,
		pipepb.BeamConstants_MAX_TIMESTAMP_MILLIS:               MaxTimestamp,
		pipepb.BeamConstants_GLOBAL_WINDOW_MAX_TIMESTAMP_MILLIS: GlobalWindowMaxTimestamp,
	} {
		options := number.Descriptor().Values().ByNumber(number.Number()).Options()
		if got := proto.GetExtension(options, pipepb.E_BeamConstant); got != fmt.Sprint(want) {
			t.Errorf("%v is %v in the model, %d here", number, got, want)
		}
	}
}
