package coders

// PaneNoFiring is the encoded pane info of elements that no trigger has fired: the
// first and last pane of unknown timing. It is by far the commonest.
const PaneNoFiring byte = 0x0f

// Timing says how a pane's firing stands to the watermark. The values are the wire's.
type Timing byte

const (
	Early Timing = iota
	OnTime
	Late
	UnknownTiming
)

// Pane tells which of a window's firings an element came with.
type Pane struct {
	First, Last bool
	Timing      Timing
	// Index counts the window's panes from 0.
	Index int64
	// NonSpeculative counts those that are not early, from 0; -1 in an early pane.
	NonSpeculative int64
}

// The first byte of a pane info: two flags, two bits of timing, and in the high
// nibble how many varints follow.
const (
	paneFirst       = 0x01
	paneLast        = 0x02
	paneTimingShift = 2
	paneKindShift   = 4
)

// AppendPane appends the encoded pane info, in the shortest form the model has. Of
// an early pane the non-speculative index is not written: it is -1 by definition.
// A pane of unknown timing has no indices.
func AppendPane(dst []byte, p Pane) []byte {
	b := byte(p.Timing&3) << paneTimingShift
	if p.First {
		b |= paneFirst
	}
	if p.Last {
		b |= paneLast
	}
	switch {
	case p.Timing == UnknownTiming, p.Timing != Early && p.Index == 0 && p.NonSpeculative == 0:
		return append(dst, b)
	case p.Timing == Early || p.Index == p.NonSpeculative:
		return AppendVarint(append(dst, b|1<<paneKindShift), p.Index)
	default:
		dst = AppendVarint(append(dst, b|2<<paneKindShift), p.Index)
		return AppendVarint(dst, p.NonSpeculative)
	}
}

// ReadPane returns the pane info at the start of b and how many bytes it takes.
func ReadPane(b []byte) (p Pane, n int, err error) {
	if n, err = done(skipPane(b, 0)); err != nil {
		return Pane{}, 0, err
	}
	p.First = b[0]&paneFirst != 0
	p.Last = b[0]&paneLast != 0
	p.Timing = Timing(b[0]>>paneTimingShift) & 3
	if b[0]>>paneKindShift > 0 {
		u, i := uvarint(b, 1)
		p.Index, p.NonSpeculative = int64(u), int64(u)
		if b[0]>>paneKindShift > 1 {
			u, _ = uvarint(b, i)
			p.NonSpeculative = int64(u)
			return p, n, nil
		}
	}
	if p.Timing == Early {
		p.NonSpeculative = -1
	}
	return p, n, nil
}

// skipPane returns the position behind the pane info at b[i:].
func skipPane(b []byte, i int) int {
	if i >= len(b) {
		return short
	}
	kind := b[i] >> paneKindShift
	i++
	switch kind {
	case 0:
		return i
	case 1:
		return skipVarint(b, i)
	case 2:
		if i = skipVarint(b, i); i < 0 {
			return i
		}
		return skipVarint(b, i)
	}
	return badPane
}
