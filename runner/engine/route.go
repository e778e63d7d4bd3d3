package engine

import (
	"errors"
	"fmt"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// routes says, for one stage, how its outputs become blocks in its readers'
// inboxes. Compiled once per stage; immutable.
type routes struct {
	outputs []outputRoute
	// bySink finds the output of a data stream.
	bySink map[string]int
}

type outputRoute struct {
	collection string
	scan       *coders.Windowed
	targets    []targetRoute
}

type targetRoute struct {
	// shards is 0 for a reader that is not keyed.
	shards int
	// single puts every element into a block of its own: restrictions are few,
	// and each may be hours of work.
	single bool
	// side: the reader is a side input, which wants large blocks.
	side bool
}

func compileRoutes(plan *graph.Plan, s *graph.Stage, shards int) (*routes, error) {
	r := &routes{bySink: make(map[string]int)}
	for i, o := range s.Outputs {
		scan, err := coders.CompileWindowed(plan.Coders, o.Coder)
		if err != nil {
			return nil, fmt.Errorf("stage %s: collection %s: %w", s.Name, o.Collection, err)
		}
		or := outputRoute{collection: o.Collection, scan: scan}
		for _, t := range o.To {
			if t.SideInput >= 0 {
				or.targets = append(or.targets, targetRoute{side: true})
				continue
			}
			reader := plan.Stages[t.Stage]
			tr := targetRoute{single: reader.Splittable}
			if reader.Input.Keyed {
				tr.shards = shards
			}
			or.targets = append(or.targets, tr)
		}
		r.outputs = append(r.outputs, or)
		if o.Sink != "" {
			r.bySink[o.Sink] = i
		}
	}
	return r, nil
}

// limits bound the blocks that routing makes.
type limits struct {
	blockBytes    int
	blockElements int64
}

// errCoder is the fault of whoever wrote the bytes, and another attempt would
// write them again.
var errCoder = errors.New("the data does not fit its coder")

// routeOutput walks what a bundle wrote to one output and appends the blocks for
// all its readers. Chunks may break inside an element.
func routeOutput(dst []core.Routed, output int, r *outputRoute, chunks [][]byte, lim limits) ([]core.Routed, error) {
	if len(r.targets) == 0 {
		return dst, nil
	}
	total := 0
	for _, c := range chunks {
		total += len(c)
	}
	cutters := make([]cutter, len(r.targets))
	for i, t := range r.targets {
		cutters[i] = newCutter(output, i, t, lim, total)
	}
	var e coders.Element
	var carry []byte
	for _, data := range chunks {
		if len(carry) > 0 {
			data = append(carry, data...)
			carry = nil
		}
		for off := 0; off < len(data); {
			n, err := r.scan.Next(data[off:], &e)
			if errors.Is(err, coders.ErrShort) {
				carry = data[off:len(data):len(data)]
				data = data[:off]
				break
			}
			if err != nil {
				return nil, fmt.Errorf("collection %s: %w: %w", r.collection, errCoder, err)
			}
			for i := range cutters {
				dst = cutters[i].add(dst, data, off, n, &e)
			}
			off += n
		}
		for i := range cutters {
			dst = cutters[i].endChunk(dst, data)
		}
	}
	if len(carry) > 0 {
		return nil, fmt.Errorf("collection %s: %w: it ends inside an element (%d bytes left)", r.collection, errCoder, len(carry))
	}
	for i := range cutters {
		dst = cutters[i].end(dst)
	}
	return dst, nil
}

// cutter makes one reader's blocks. For readers without a key a block is a part
// of the chunk, uncopied; for keyed ones elements are copied to their shard's block.
type cutter struct {
	output, target int
	t              targetRoute
	lim            limits

	// Not keyed: the open block is data[from:to] of the present chunk.
	from, to int
	open     span
	// next is the element count of the next block: it grows 1, 1, 2, 2, 4, 4, ...
	// so that a small output still spreads over the slots and a large one is not
	// cut to pieces.
	next  int64
	again bool

	// Keyed: an open block per shard, of room bytes at first.
	shards []shardBlock
	room   int
}

type span struct {
	count int64
	hold  int64
}

func (s *span) add(ts int64) {
	if s.count == 0 || ts < s.hold {
		s.hold = ts
	}
	s.count++
}

type shardBlock struct {
	span
	buf []byte
}

func newCutter(output, target int, t targetRoute, lim limits, total int) cutter {
	c := cutter{output: output, target: target, t: t, lim: lim, next: 1}
	if t.side {
		c.next = lim.blockElements
	}
	if t.shards > 0 {
		c.shards = make([]shardBlock, t.shards)
		// Keys spread about evenly; an eighth more spares most blocks from growing.
		c.room = min(lim.blockBytes, total/t.shards*9/8)
	}
	return c
}

func (c *cutter) add(dst []core.Routed, data []byte, off, n int, e *coders.Element) []core.Routed {
	if c.shards != nil {
		i := shardOf(keyGroup(keyHash(e.Key)), len(c.shards))
		b := &c.shards[i]
		if len(b.buf) > 0 && (len(b.buf)+n > c.lim.blockBytes || b.count >= c.lim.blockElements) {
			dst = c.cutShard(dst, i)
		}
		if b.buf == nil {
			b.buf = make([]byte, 0, max(c.room, n))
		}
		b.buf = append(b.buf, data[off:off+n]...)
		b.add(e.Timestamp)
		return dst
	}
	if c.open.count == 0 {
		c.from = off
	}
	c.open.add(e.Timestamp)
	c.to = off + n
	if c.t.single || c.open.count >= c.next || c.to-c.from >= c.lim.blockBytes {
		dst = c.cut(dst, data)
	}
	return dst
}

func (c *cutter) cut(dst []core.Routed, data []byte) []core.Routed {
	b := data[c.from:c.to:c.to]
	dst = append(dst, core.Routed{Output: c.output, Target: c.target, Block: core.Block{
		Count: c.open.count, Bytes: int64(len(b)), Hold: c.open.hold, Payload: b,
	}})
	c.open = span{}
	if c.again {
		c.next = min(2*c.next, c.lim.blockElements)
	}
	c.again = !c.again
	return dst
}

func (c *cutter) endChunk(dst []core.Routed, data []byte) []core.Routed {
	if c.shards == nil && c.open.count > 0 {
		return c.cut(dst, data)
	}
	return dst
}

func (c *cutter) cutShard(dst []core.Routed, i int) []core.Routed {
	b := &c.shards[i]
	dst = append(dst, core.Routed{Output: c.output, Target: c.target, Shard: i, Block: core.Block{
		Count: b.count, Bytes: int64(len(b.buf)), Hold: b.hold, Payload: b.buf,
	}})
	*b = shardBlock{}
	return dst
}

func (c *cutter) end(dst []core.Routed) []core.Routed {
	for i := range c.shards {
		if c.shards[i].count > 0 {
			dst = c.cutShard(dst, i)
		}
	}
	return dst
}
