package coders

import (
	"bytes"
	"errors"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// fuzzCoders have every op at least once.
var fuzzCoders = []string{
	"bytes", "varint", "bool", "double", "global", "interval", "custom(lp(mine))",
	"kv(bytes,bytes)", "kv(varint,kv(bool,double))", "iterable(bytes)", "iterable(double)", "iterable(global)",
	"iterable(iterable(iterable(bool)))", "kv(bytes,sbi(nullable(kv(double,global))))", "sharded(nullable(string))",
	"wv(kv(bytes,bytes),global)", "wv(kv(varint,iterable(bytes)),interval)", "iterable(wv(bytes,custom(interval)))",
	"timer(bytes,global)", "timer(nullable(varint),interval)",
}

// checkScan holds what is true of any scan of b that returned n and err.
func checkScan(t *testing.T, b []byte, n int, err error, again func([]byte) (int, error)) {
	t.Helper()
	if err != nil {
		if n != 0 || errors.Is(err, ErrShort) == errors.Is(err, ErrCorrupt) {
			t.Fatalf("%x: %d, %v: an error says how many bytes, or not which kind it is", b, n, err)
		}
		return
	}
	if n < 0 || n > len(b) {
		t.Fatalf("%x: %d of %d bytes", b, n, len(b))
	}
	// An element's end depends on nothing behind it, and is the first that could be.
	if m, err := again(b[:n:n]); m != n || err != nil {
		t.Fatalf("%x: %d bytes, but alone %d, %v", b, n, m, err)
	}
	if n > 0 {
		if m, err := again(b[: n-1 : n-1]); err != ErrShort {
			t.Fatalf("%x: %d bytes, but without the last %d, %v", b, n, m, err)
		}
	}
}

func FuzzSkip(f *testing.F) {
	scanners := make([]*Scanner, len(fuzzCoders))
	for i, expr := range fuzzCoders {
		scanners[i] = compile(expr)
		for _, b := range []string{"\x01k\x01v", chunked + "\x01\x01a" + minus1 + "\x01t", string(plainElement()), time0 + "\x00\x00\x00\x01" + time0 + "\x05\x24\x01\x02"} {
			f.Add(byte(i), []byte(b))
		}
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		s := scanners[int(which)%len(scanners)]
		n, err := s.Skip(b)
		checkScan(t, b, n, err, s.Skip)
	})
}

// The scan that fills an Element, with its shortcuts, agrees with the one that only skips.
func FuzzWindowed(f *testing.F) {
	exprs := []string{
		"wv(kv(bytes,bytes),global)", "wv(kv(bytes,lp(secret)),interval)", "wv(bytes,global)",
		"wv(kv(kv(bool,bool),varint),custom(lp(mine)))", "wv(iterable(bytes),interval)", "wv(kv(bytes,bytes),lp(mine))",
	}
	scanners, windowed := make([]*Scanner, len(exprs)), make([]*Windowed, len(exprs))
	for i, expr := range exprs {
		scanners[i], windowed[i] = compile(expr), compileWindowed(expr)
		f.Add(byte(i), plainElement())
		for _, head := range []string{"\x00\x00\x00\x01\x14\x05", "\x00\x00\x00\x00\x0f", "\x00\x00\x00\x02\x0f"} {
			f.Add(byte(i), []byte(time0+head+"\x01k\x01v"))
		}
		f.Add(byte(i), []byte(time0+"\x00\x00\x00\x02"+time0+"\x05"+time0+"\x01\x24\x01\x02\x02k\x01\x01v"))
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		i := int(which) % len(exprs)
		var e Element
		n, err := windowed[i].Next(b, &e)
		if m, mErr := scanners[i].Skip(b); m != n || mErr != err {
			t.Fatalf("%s: %x: Next = %d, %v; Skip = %d, %v", exprs[i], b, n, err, m, mErr)
		}
		checkScan(t, b, n, err, scanners[i].Skip)
		if err != nil {
			return
		}
		// The parts are the whole, in its order.
		head := AppendHeader(nil, e.Timestamp, e.Windows, e.NumWindows, e.Pane)
		if whole := append(append(head, e.Key...), e.Value...); !bytes.Equal(whole, b[:n]) {
			t.Fatalf("%s: %x: its parts make %x", exprs[i], b[:n], whole)
		}
		rest := e.Windows
		for range e.NumWindows {
			_, maxErr := windowed[i].WindowMax(rest)
			if maxErr != nil && windowed[i].WindowKind() != OpaqueWindows {
				t.Fatalf("%s: window %x: %v", exprs[i], rest, maxErr)
			}
			size, err := windowed[i].NextWindow(rest)
			if err != nil {
				t.Fatalf("%s: windows %x: %v", exprs[i], rest, err)
			}
			rest = rest[size:]
		}
		if len(rest) > 0 {
			t.Fatalf("%s: %x is behind the windows", exprs[i], rest)
		}
		if _, size, err := ReadPane(e.Pane); size != len(e.Pane) || err != nil {
			t.Fatalf("%s: pane %x: %d, %v", exprs[i], e.Pane, size, err)
		}
	})
}

func FuzzTimers(f *testing.F) {
	timers, scanner := must(CompileTimer(parse("timer(bytes,interval)"))), compile("timer(bytes,interval)")
	f.Add([]byte("\x01k\x02id\x00\x00\x00\x01" + time0 + "\x05\x00" + time0 + time0 + "\x0f"))
	f.Add([]byte("\x01k\x00\x00\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e TimerElement
		n, err := timers.Next(b, &e)
		checkScan(t, b, n, err, scanner.Skip)
		if err != nil {
			return
		}
		// Only the tag's length may be written in more bytes than it needs.
		whole := AppendTimer(nil, &e)
		if m, err := scanner.Skip(whole); m != len(whole) || err != nil || len(whole) > n {
			t.Fatalf("%x: its parts make %x: %d, %v", b[:n], whole, m, err)
		}
	})
}

// Schemas come from outside too.
func FuzzRow(f *testing.F) {
	f.Add(must(proto.Marshal(&pipepb.Schema{Fields: []*pipepb.Field{
		field("a", pipepb.AtomicType_STRING, true), field("b", pipepb.AtomicType_INT16, false),
	}})), []byte("\x02\x01\x01ab"))
	f.Fuzz(func(t *testing.T, schema, b []byte) {
		coders := map[string]*pipepb.Coder{"row": {Spec: &pipepb.FunctionSpec{Urn: urnRow, Payload: schema}}}
		s, err := Compile(coders, "row")
		if err != nil {
			return
		}
		n, err := s.Skip(b)
		checkScan(t, b, n, err, s.Skip)
	})
}
