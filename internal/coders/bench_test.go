package coders

import (
	"encoding/binary"
	"testing"
)

// benchElements are buffers of many elements, for scanners of several coders.
func benchElements() map[string]struct {
	coder  string
	buffer []byte
	count  int
} {
	type buffer = struct {
		coder  string
		buffer []byte
		count  int
	}
	const count = 1000
	repeat := func(coder string, element []byte) buffer {
		var b []byte
		for range count {
			b = append(b, element...)
		}
		return buffer{coder, b, count}
	}
	value := func(dst []byte, size int) []byte { return append(AppendLength(dst, size), make([]byte, size)...) }
	key := "\x08user0001"
	interval := AppendIntervalWindow(nil, IntervalWindow{0, 60_000})
	list := binary.BigEndian.AppendUint32([]byte(key), 10)
	for i := range 10 {
		list = AppendVarint(list, int64(100*i))
	}
	return map[string]buffer{
		"global/KV<bytes,bytes>/20B":   repeat("wv(kv(bytes,bytes),global)", value(append(AppendHeader(nil, 1234, nil, 1, nil), key...), 20)),
		"global/KV<bytes,bytes>/200B":  repeat("wv(kv(bytes,bytes),global)", value(append(AppendHeader(nil, 1234, nil, 1, nil), key...), 200)),
		"interval/KV<bytes,bytes>/20B": repeat("wv(kv(bytes,bytes),interval)", value(append(AppendHeader(nil, 1234, interval, 1, nil), key...), 20)),
		"global/KV<string,varint>":     repeat("wv(kv(string,varint),global)", AppendVarint(append(AppendHeader(nil, 1234, nil, 1, nil), key...), 300)),
		"global/KV<bytes,10varints>":   repeat("wv(kv(bytes,iterable(varint)),global)", append(AppendHeader(nil, 1234, nil, 1, nil), list...)),
		"global/bytes/20B":             repeat("wv(bytes,global)", value(AppendHeader(nil, 1234, nil, 1, nil), 20)),
	}
}

// BenchmarkNext is the time per element of walking a buffer.
func BenchmarkNext(b *testing.B) {
	for name, bench := range benchElements() {
		b.Run(name, func(b *testing.B) {
			w := compileWindowed(bench.coder)
			b.SetBytes(int64(len(bench.buffer) / bench.count))
			b.ReportAllocs()
			var e Element
			var rest []byte
			for b.Loop() {
				if len(rest) == 0 {
					rest = bench.buffer
				}
				n, err := w.Next(rest, &e)
				if err != nil {
					b.Fatal(err)
				}
				rest = rest[n:]
			}
		})
	}
}

func BenchmarkAppendHeader(b *testing.B) {
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst = AppendHeader(dst[:0], 1234, nil, 1, nil)
	}
}

func BenchmarkTimers(b *testing.B) {
	timers := must(CompileTimer(parse("timer(bytes,global)")))
	buffer := AppendTimer(nil, &TimerElement{Key: []byte("\x03key"), NumWindows: 1, Fire: 1, Hold: 1})
	b.ReportAllocs()
	var e TimerElement
	for b.Loop() {
		if _, err := timers.Next(buffer, &e); err != nil {
			b.Fatal(err)
		}
	}
}

// Neither finding nor missing an element allocates.
func TestNoAllocations(t *testing.T) {
	check := func(name string, f func()) {
		t.Helper()
		if allocs := testing.AllocsPerRun(100, f); allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
	for name, bench := range benchElements() {
		w, s := compileWindowed(bench.coder), compile(bench.coder)
		size := len(bench.buffer) / bench.count
		var e Element
		check(name, func() { w.Next(bench.buffer, &e) })
		check(name+", cut", func() { w.Next(bench.buffer[:size-1], &e) })
		check(name+", skipped", func() { s.Skip(bench.buffer) })
	}
	flags, bad := compile("kv(bool,bytes)"), []byte{7, 7}
	check("corrupt", func() { flags.Skip(bad) })

	timers := must(CompileTimer(parse("timer(bytes,interval)")))
	window := AppendIntervalWindow(nil, IntervalWindow{0, 10})
	in := TimerElement{Key: []byte("\x01k"), Tag: []byte("tag"), Windows: window, NumWindows: 1}
	buffer := AppendTimer(nil, &in)
	var out TimerElement
	check("timer", func() { timers.Next(buffer, &out) })

	dst := make([]byte, 0, 256)
	check("writers", func() {
		dst = AppendHeader(dst[:0], 1, window, 1, nil)
		dst = AppendPane(dst, Pane{Timing: Late, Index: 3, NonSpeculative: 2})
		dst = AppendTimer(dst, &in)
		dst = AppendIntervalWindow(dst, IntervalWindow{0, 10})
		dst = AppendLength(AppendVarint(dst, -1), 300)
	})
	check("windows", func() {
		ReadIntervalWindow(window)
		timers.Window().Next(window)
		timers.Window().Max(window)
	})
}
