package coders

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// plainElement is KV<bytes, bytes> in the global window.
func plainElement() []byte {
	return append(AppendHeader(nil, 1234, nil, 1, nil), "\x03key\x05value"...)
}

func TestWindowedPlain(t *testing.T) {
	w := compileWindowed("wv(kv(bytes,lp(secret)),global)")
	b := plainElement()
	for cut := range b {
		if _, err := w.Next(b[:cut], new(Element)); err != ErrShort {
			t.Errorf("first %d of %d bytes: %v, want ErrShort", cut, len(b), err)
		}
	}
	var e Element
	n, err := w.Next(append(b[:len(b):len(b)], "more"...), &e)
	if err != nil || n != len(b) {
		t.Fatalf("Next = %d, %v; want %d", n, err, len(b))
	}
	if e.Timestamp != 1234 || e.NumWindows != 1 || len(e.Windows) != 0 || !bytes.Equal(e.Pane, []byte{PaneNoFiring}) ||
		string(e.Key) != "\x03key" || string(e.Value) != "\x05value" {
		t.Errorf("got %+v", e)
	}
	for _, s := range [][]byte{e.Windows, e.Pane, e.Key, e.Value} {
		if cap(s) != len(s) {
			t.Errorf("%q has room for %d bytes: an append would write over its neighbor", s, cap(s))
		}
	}
}

// An Element is reused: nothing of the one before may be left in it.
func TestWindowedReuse(t *testing.T) {
	var e Element
	kv, plain := compileWindowed("wv(kv(bytes,bytes),global)"), compileWindowed("wv(bytes,global)")
	if _, err := kv.Next(plainElement(), &e); err != nil || e.Key == nil {
		t.Fatalf("key %q, %v", e.Key, err)
	}
	if _, err := plain.Next(append(AppendHeader(nil, 0, nil, 1, nil), "\x01v"...), &e); err != nil || e.Key != nil || string(e.Value) != "\x01v" {
		t.Errorf("key %q, value %q, %v; want no key", e.Key, e.Value, err)
	}
}

func param(element, windows string, payload []byte) (map[string]*pipepb.Coder, string) {
	coders, id := parse("wv(" + element + "," + windows + ")")
	coders[id].Spec = &pipepb.FunctionSpec{Urn: urnParamWindowedValue, Payload: payload}
	return coders, id
}

func TestParamWindowed(t *testing.T) {
	window := AppendIntervalWindow(nil, IntervalWindow{10, 20})
	pane := AppendPane(nil, Pane{Last: true, Timing: OnTime, Index: 30, NonSpeculative: 40})
	header := AppendHeader(nil, 1000, window, 1, pane)
	w, err := CompileWindowed(param("kv(varint,varint)", "interval", append(header, 0)))
	if err != nil {
		t.Fatal(err)
	}
	var e Element
	n, err := w.Next([]byte("\x02\x03!"), &e)
	if err != nil || n != 2 || e.Timestamp != 1000 || e.NumWindows != 1 || !bytes.Equal(e.Windows, window) ||
		!bytes.Equal(e.Pane, pane) || string(e.Key) != "\x02" || string(e.Value) != "\x03" {
		t.Errorf("%d, %v: %+v", n, err, e)
	}
	if _, err := w.Next([]byte("\x02"), &e); err != ErrShort {
		t.Errorf("%v, want ErrShort", err)
	}
	if _, err := CompileWindowed(param("varint", "interval", header[:20])); !errors.Is(err, ErrShort) {
		t.Errorf("cut payload: %v", err)
	}
	// A buffer of such elements would never end.
	if _, err := CompileWindowed(param("global", "interval", header)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("elements of no bytes: %v", err)
	}
}

func TestCompileWrongKind(t *testing.T) {
	coders, id := parse("kv(bytes,bytes)")
	for name, err := range map[string]error{
		"windowed": second(CompileWindowed(coders, id)),
		"absent":   second(CompileWindowed(coders, "absent")),
		"timer":    second(CompileTimer(coders, id)),
		"arity":    second(CompileWindowed(parse("wv(bytes)"))),
	} {
		if err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := CompileWindowed(parse("wv(secret,global)")); !errors.Is(err, ErrUnsupported) {
		t.Errorf("unknown element: %v", err)
	}
	if _, err := CompileWindowed(parse("wv(bytes,secret)")); !errors.Is(err, ErrUnsupported) {
		t.Errorf("unknown window: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }
