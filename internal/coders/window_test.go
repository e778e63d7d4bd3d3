package coders

import (
	"errors"
	"math"
	"testing"
)

func TestIntervalWindow(t *testing.T) {
	for _, w := range []IntervalWindow{
		{0, 0}, {0, 10}, {-5, 5}, {MinTimestamp, MaxTimestamp}, {math.MinInt64, math.MinInt64}, {math.MinInt64, -1},
	} {
		b := AppendIntervalWindow(nil, w)
		got, n, err := ReadIntervalWindow(append(b, 0xff))
		if got != w || n != len(b) || err != nil {
			t.Errorf("%v: %x reads as %v, %d, %v", w, b, got, n, err)
		}
	}
	for b, want := range map[string]error{
		time0:                                  ErrShort,
		time0[:7]:                              ErrShort,
		time0 + "\x80":                         ErrShort,
		time0 + minus1:                         ErrCorrupt,
		"\x00\x00\x00\x00\x00\x00\x00\x09\x0a": ErrCorrupt, // ends 9 ms after the least time, lasts 10
	} {
		if _, _, err := ReadIntervalWindow([]byte(b)); !errors.Is(err, want) {
			t.Errorf("%x: %v, want %v", b, err, want)
		}
	}
}

func TestWindowMax(t *testing.T) {
	tests := []struct {
		coder, window string
		kind          WindowKind
		want          int64
		err           error
	}{
		{"global", "", GlobalWindows, GlobalWindowMaxTimestamp, nil},
		{"interval", time0 + "\x05", IntervalWindows, -1, nil},
		{"interval", "\x00\x00\x00\x00\x00\x00\x00\x00\x00", IntervalWindows, math.MinInt64, nil},
		{"interval", time0[:7], IntervalWindows, 0, ErrShort},
		{"custom(lp(mine))", time0 + "\x01w", CustomWindows, 0, nil},
		{"custom(interval)", "\x80\x00\x00\x00\x00\x00\x00\x07" + time0 + "\x01", CustomWindows, 7, nil},
		{"lp(mine)", "\x01w", OpaqueWindows, 0, ErrUnsupported},
	}
	for _, test := range tests {
		c := must(CompileWindow(parse(test.coder)))
		got, err := c.Max([]byte(test.window))
		if got != test.want || !errors.Is(err, test.err) || c.Kind() != test.kind {
			t.Errorf("%s: %v window %x ends %d, %v; want %v, %d, %v", test.coder, c.Kind(), test.window, got, err, test.kind, test.want, test.err)
		}
		if test.err != nil {
			continue
		}
		if n, err := c.Next([]byte(test.window + "!")); n != len(test.window) || err != nil {
			t.Errorf("%s: Next = %d, %v; want %d", test.coder, n, err, len(test.window))
		}
	}
	if got := (IntervalWindow{0, 10}).Max(); got != 9 {
		t.Errorf("Max = %d, want 9", got)
	}
}

func TestReadPane(t *testing.T) {
	for b, want := range map[string]Pane{
		"\x0f":         {First: true, Last: true, Timing: UnknownTiming},
		"\x01":         {First: true, Timing: Early, NonSpeculative: -1},
		"\x11\x00":     {First: true, Timing: Early, NonSpeculative: -1},
		"\x10\x05":     {Timing: Early, Index: 5, NonSpeculative: -1},
		"\x14\x05":     {Timing: OnTime, Index: 5, NonSpeculative: 5},
		"\x2a\x05\x02": {Last: true, Timing: Late, Index: 5, NonSpeculative: 2},
	} {
		got, n, err := ReadPane([]byte(b))
		if got != want || n != len(b) || err != nil {
			t.Errorf("%x reads as %+v, %d, %v; want %+v", b, got, n, err, want)
		}
	}
	for b, want := range map[string]error{"": ErrShort, "\x1f": ErrShort, "\x20\x01": ErrShort, "\x30\x00\x00": ErrCorrupt} {
		if _, _, err := ReadPane([]byte(b)); !errors.Is(err, want) {
			t.Errorf("%x: %v, want %v", b, err, want)
		}
	}
}
