package testkit

import (
	"encoding/binary"
	"strings"

	"github.com/summerbeam/summerbeam/internal/coders"
)

// Str encodes a string, as beam:coder:string_utf8:v1 and bytes have it inside of others.
func Str(s string) string { return string(coders.AppendLength(nil, len(s))) + s }

// Strs decodes strings that stand one after another, as in a bag.
func Strs(b string) []string {
	var all []string
	for len(b) > 0 {
		n, w, err := coders.ReadVarint([]byte(b))
		if err != nil || n > int64(len(b)-w) {
			panic("no strings: " + b)
		}
		all, b = append(all, b[w:w+int(n)]), b[w+int(n):]
	}
	return all
}

// Iterable encodes an iterable of encoded elements.
func Iterable(elements ...string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(elements)))) + strings.Join(elements, "")
}

// Values decodes an iterable of strings, one of known size.
func Values(iterable string) []string { return Strs(iterable[4:]) }

// Interval encodes an interval window; end is not in it. Times are in ms.
func Interval(start, end int64) string {
	return string(coders.AppendIntervalWindow(nil, coders.IntervalWindow{Start: start, End: end}))
}

// Bounds decodes an interval window.
func Bounds(window string) coders.IntervalWindow {
	w, _, err := coders.ReadIntervalWindow([]byte(window))
	if err != nil {
		panic(err)
	}
	return w
}

// Custom encodes a window of beam:coder:custom_window:v1 over strings: its last moment (ms)
// and a name.
func Custom(last int64, name string) string {
	return string(coders.AppendTimestamp(nil, last)) + Str(name)
}

func appendElement(dst []byte, e Element) []byte {
	dst = coders.AppendHeader(dst, e.Timestamp, []byte(e.Window), 1, []byte(e.Pane))
	return append(append(dst, e.Key...), e.Value...)
}
