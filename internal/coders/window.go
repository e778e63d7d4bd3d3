package coders

import (
	"encoding/binary"
	"fmt"
	"math"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// WindowKind says what the runner can know of a window.
type WindowKind int

const (
	// GlobalWindows take no bytes; there is one.
	GlobalWindows WindowKind = iota
	// IntervalWindows have a start and an end.
	IntervalWindows
	// CustomWindows tell their maximum timestamp; the rest is the SDK's.
	CustomWindows
	// OpaqueWindows can be told apart by their bytes, and that is all.
	OpaqueWindows
)

func (k WindowKind) String() string {
	switch k {
	case GlobalWindows:
		return "global"
	case IntervalWindows:
		return "interval"
	case CustomWindows:
		return "custom"
	}
	return "opaque"
}

// WindowCoder finds the bounds and maximum timestamps of encoded windows.
type WindowCoder struct {
	kind WindowKind
	root *node
}

// CompileWindow makes a WindowCoder of the coder id in coders. It fails as Compile does.
func CompileWindow(coders map[string]*pipepb.Coder, id string) (*WindowCoder, error) {
	return newCompiler(coders).window(id, 0)
}

func (c *compiler) window(id string, depth int) (*WindowCoder, error) {
	root, err := c.coder(id, depth)
	if err != nil {
		return nil, fmt.Errorf("window coder: %w", err)
	}
	w := &WindowCoder{kind: OpaqueWindows, root: root}
	switch c.coders[id].GetSpec().GetUrn() {
	case urnGlobalWindow:
		w.kind = GlobalWindows
	case urnIntervalWindow:
		w.kind = IntervalWindows
	case urnCustomWindow:
		w.kind = CustomWindows
	}
	return w, nil
}

// Kind returns the windows' kind.
func (c *WindowCoder) Kind() WindowKind { return c.kind }

// Next returns the size of the window at the start of windows: 0 for global ones, so
// walk an element's windows by their count and not by their bytes.
func (c *WindowCoder) Next(windows []byte) (n int, err error) { return done(c.root.skip(windows, 0)) }

// Max returns the last event time, in milliseconds, that is inside the window w. It
// fails for opaque windows and for bytes that are too few.
func (c *WindowCoder) Max(w []byte) (millis int64, err error) {
	switch c.kind {
	case GlobalWindows:
		return GlobalWindowMaxTimestamp, nil
	case OpaqueWindows:
		return 0, fmt.Errorf("%w: the maximum timestamp of a window without beam:coder:custom_window:v1", ErrUnsupported)
	}
	if len(w) < timestampSize {
		return 0, ErrShort
	}
	t := timestamp(w)
	if c.kind == IntervalWindows && t > math.MinInt64 {
		t--
	}
	return t, nil
}

// skipWindows returns the count of the windows of n at b[i:] and the position behind
// them. The model would have them be any iterable; every SDK writes a plain count.
func (n *node) skipWindows(b []byte, i int) (count, next int) {
	if len(b)-i < 4 {
		return 0, short
	}
	c := int32(binary.BigEndian.Uint32(b[i:]))
	// Windows are a set, and there is but one that takes no bytes. Without this a few
	// bytes could claim two billion windows.
	if c < 0 || c > 1 && n.fixed == 0 {
		return 0, badWindowCount
	}
	return int(c), n.skipMany(b, i+4, uint64(c))
}

// IntervalWindow holds event times from Start up to but not including End, both in
// milliseconds since the epoch.
type IntervalWindow struct{ Start, End int64 }

// Max returns the last event time inside the window.
func (w IntervalWindow) Max() int64 {
	if w.End == math.MinInt64 {
		return w.End
	}
	return w.End - 1
}

// AppendIntervalWindow appends w as beam:coder:interval_window:v1 does: its end, then
// its length as a varint. w.End must not be before w.Start.
func AppendIntervalWindow(dst []byte, w IntervalWindow) []byte {
	return AppendVarint(AppendTimestamp(dst, w.End), w.End-w.Start)
}

// ReadIntervalWindow returns the interval window at the start of b and its size.
func ReadIntervalWindow(b []byte) (w IntervalWindow, n int, err error) {
	if len(b) < timestampSize {
		return w, 0, ErrShort
	}
	end := timestamp(b)
	u, i := uvarint(b, timestampSize)
	if n, err = done(i); err != nil {
		return w, 0, err
	}
	span := int64(u)
	if span < 0 || end < math.MinInt64+span {
		return w, 0, faults[-badWindow]
	}
	return IntervalWindow{Start: end - span, End: end}, n, nil
}
