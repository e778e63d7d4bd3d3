package engine

import (
	"encoding/binary"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/triggers"
)

// paneList gathers fired panes as windowed KV<K, Iterable<V>>, or elements as they are,
// in order.
type paneList struct {
	data []byte
	ends []int
	hold []int64
}

func (p *paneList) add(key, window []byte, out triggers.Outcome, count uint64, values []byte) {
	p.data = coders.AppendHeader(p.data, out.Timestamp, window, 1, coders.AppendPane(nil, out.Pane))
	p.data = append(p.data, key...)
	p.data = binary.BigEndian.AppendUint32(p.data, uint32(count))
	p.data = append(p.data, values...)
	p.end(out.Timestamp)
}

func (p *paneList) addElement(data []byte, timestamp int64) {
	p.data = append(p.data, data...)
	p.end(timestamp)
}

func (p *paneList) end(timestamp int64) {
	p.ends = append(p.ends, len(p.data))
	p.hold = append(p.hold, timestamp)
}

// blocks cuts the panes into blocks of about lim's size.
func (p *paneList) blocks(lim limits) []core.Block {
	var out []core.Block
	from := 0
	for i := 0; i < len(p.ends); {
		b := core.Block{Hold: p.hold[i]}
		to := from
		for i < len(p.ends) && (b.Count == 0 || p.ends[i]-from <= lim.blockBytes && b.Count < lim.blockElements) {
			b.Count++
			b.Hold = min(b.Hold, p.hold[i])
			to = p.ends[i]
			i++
		}
		b.Bytes, b.Payload = int64(to-from), p.data[from:to:to]
		out = append(out, b)
		from = to
	}
	return out
}
