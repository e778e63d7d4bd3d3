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
	lifted     bool
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
	// stage is the reader; waits says that it looks at nothing before its input is
	// complete, so that the disk is no bad place for it.
	stage int
	waits bool
}

func compileRoutes(plan *graph.Plan, s *graph.Stage, cfg core.Config) (*routes, error) {
	r := &routes{bySink: make(map[string]int)}
	for i, o := range s.Outputs {
		scan, err := coders.CompileWindowed(plan.Coders, o.Coder)
		if err != nil {
			return nil, fmt.Errorf("stage %s: collection %s: %w", s.Name, o.Collection, err)
		}
		or := outputRoute{collection: o.Collection, lifted: o.Lifted, scan: scan}
		for _, t := range o.To {
			if t.SideInput >= 0 {
				or.targets = append(or.targets, targetRoute{side: true, stage: t.Stage, waits: true})
				continue
			}
			reader := plan.Stages[t.Stage]
			tr := targetRoute{single: reader.Splittable, stage: t.Stage}
			tr.waits = reader.Input.Grouping != nil && !reader.Input.Grouping.Triggered
			if reader.Input.Keyed {
				tr.shards = cfg.ShardsOf(reader)
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

// routeOutput routes a whole output that is in memory.
func routeOutput(dst []core.Routed, output int, r *outputRoute, chunks [][]byte, lim limits) ([]core.Routed, error) {
	total := 0
	for _, c := range chunks {
		total += len(c)
	}
	t := newRouter(output, r, lim, nil, total)
	t.out = dst
	for _, c := range chunks {
		if err := t.feed(c); err != nil {
			return nil, err
		}
	}
	if err := t.end(); err != nil {
		return nil, err
	}
	return t.out, nil
}

// router walks what a bundle writes to one output and makes the blocks for all its
// readers. It takes the bytes chunk by chunk, so that a bundle's output need not be
// in memory at once. Chunks may break inside an element.
type router struct {
	r       *outputRoute
	keep    *keeper
	cutters []cutter
	// carry is the element that the last chunk broke off in. owned says that its
	// array is the router's, to be appended to.
	carry []byte
	owned bool
	out   []core.Routed
}

// newRouter makes a router. total is the size of the output, as far as is known.
func newRouter(output int, r *outputRoute, lim limits, keep *keeper, total int) *router {
	t := &router{r: r, keep: keep, cutters: make([]cutter, len(r.targets))}
	for i, to := range r.targets {
		t.cutters[i] = newCutter(output, i, to, lim, keep, total)
	}
	return t
}

// feed takes the next chunk, which is the router's from then on.
func (t *router) feed(data []byte) error {
	if len(t.cutters) == 0 {
		return nil
	}
	owned := false
	if len(t.carry) > 0 {
		if !t.owned {
			t.carry = t.carry[:len(t.carry):len(t.carry)]
		}
		data, t.carry, owned = append(t.carry, data...), nil, true
	}
	var e coders.Element
	var err error
	for off := 0; off < len(data); {
		n, serr := t.r.scan.Next(data[off:], &e)
		if errors.Is(serr, coders.ErrShort) {
			t.carry, t.owned = data[off:], owned
			data = data[:off]
			break
		}
		if serr != nil {
			return fmt.Errorf("collection %s: %w: %w", t.r.collection, errCoder, serr)
		}
		for i := range t.cutters {
			if t.out, err = t.cutters[i].add(t.out, data, off, n, &e); err != nil {
				return err
			}
		}
		off += n
	}
	for i := range t.cutters {
		if t.out, err = t.cutters[i].endChunk(t.out, data); err != nil {
			return err
		}
	}
	return nil
}

// end makes blocks of what is left; the output is complete, and in out.
func (t *router) end() error {
	if len(t.carry) > 0 {
		return fmt.Errorf("collection %s: %w: it ends inside an element (%d bytes left)", t.r.collection, errCoder, len(t.carry))
	}
	var err error
	for i := range t.cutters {
		if t.out, err = t.cutters[i].end(t.out); err != nil {
			return err
		}
	}
	return nil
}

// drop lets go of everything: the bundle has failed.
func (t *router) drop() {
	for i := range t.out {
		t.keep.drop([]core.Block{t.out[i].Block})
	}
	for i := range t.cutters {
		t.cutters[i].drop()
	}
	t.out, t.carry = nil, nil
}

// cutter makes one reader's blocks. For readers without a key a block is a part
// of the chunk, uncopied; for keyed ones elements are copied to their shard's block.
type cutter struct {
	output, target int
	t              targetRoute
	lim            limits
	keep           *keeper

	// Not keyed: the open block is data[from:to] of the present chunk.
	from, to int
	open     span
	// next is the element count of the next block: it grows 1, 1, 2, 2, 4, 4, ...
	// so that a small output still spreads over the slots and a large one is not
	// cut to pieces.
	next  int64
	again bool

	// sample, if not nil, sees the keys.
	sample *keySample

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
	buf  []byte
	room int // the size of buf that memOutputs counts
}

func newCutter(output, target int, t targetRoute, lim limits, keep *keeper, total int) cutter {
	c := cutter{output: output, target: target, t: t, lim: lim, keep: keep, next: 1}
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

func (c *cutter) add(dst []core.Routed, data []byte, off, n int, e *coders.Element) ([]core.Routed, error) {
	if c.shards != nil {
		hash := keyHash(e.Key)
		if c.sample != nil {
			c.sample.see(hash)
		}
		i := shardOf(keyGroup(hash), len(c.shards))
		b := &c.shards[i]
		if b.count > 0 && (len(b.buf)+n > c.lim.blockBytes || b.count >= c.lim.blockElements) {
			var err error
			if dst, err = c.cutShard(dst, i); err != nil {
				return dst, err
			}
		}
		if b.buf == nil {
			b.room = max(c.room, n)
			b.buf = make([]byte, 0, b.room)
			c.keep.count(memOutputs, int64(b.room))
		}
		b.buf = append(b.buf, data[off:off+n]...)
		b.add(e.Timestamp)
		return dst, nil
	}
	if c.open.count == 0 {
		c.from = off
	}
	c.open.add(e.Timestamp)
	c.to = off + n
	if c.t.single || c.open.count >= c.next || c.to-c.from >= c.lim.blockBytes {
		return c.cut(dst, data)
	}
	return dst, nil
}

func (c *cutter) cut(dst []core.Routed, data []byte) ([]core.Routed, error) {
	b := data[c.from:c.to:c.to]
	payload, _, err := c.keep.keep(c.t.stage, b, c.t.waits)
	if err != nil {
		return dst, err
	}
	dst = append(dst, core.Routed{Output: c.output, Target: c.target, Block: core.Block{
		Count: c.open.count, Bytes: int64(len(b)), Hold: c.open.hold, Payload: payload,
	}})
	c.open = span{}
	if c.again {
		c.next = min(2*c.next, c.lim.blockElements)
	}
	c.again = !c.again
	return dst, nil
}

func (c *cutter) endChunk(dst []core.Routed, data []byte) ([]core.Routed, error) {
	if c.shards == nil && c.open.count > 0 {
		return c.cut(dst, data)
	}
	return dst, nil
}

func (c *cutter) cutShard(dst []core.Routed, i int) ([]core.Routed, error) {
	b := &c.shards[i]
	data := b.buf
	if cap(data) > 2*len(data) {
		data = append(make([]byte, 0, len(data)), data...) // it may be queued for long
	}
	payload, onDisk, err := c.keep.keep(c.t.stage, data, c.t.waits)
	if err != nil {
		return dst, err
	}
	dst = append(dst, core.Routed{Output: c.output, Target: c.target, Shard: i, Block: core.Block{
		Count: b.count, Bytes: int64(len(data)), Hold: b.hold, Payload: payload,
	}})
	b.span = span{}
	if onDisk {
		b.buf = b.buf[:0]
		return dst, nil
	}
	c.letGo(b)
	return dst, nil
}

// letGo forgets a shard's buffer: it is queued, or of no use.
func (c *cutter) letGo(b *shardBlock) {
	c.keep.count(memOutputs, -int64(b.room))
	b.buf, b.room = nil, 0
}

func (c *cutter) end(dst []core.Routed) ([]core.Routed, error) {
	for i := range c.shards {
		if c.shards[i].count > 0 {
			var err error
			if dst, err = c.cutShard(dst, i); err != nil {
				return dst, err
			}
		}
	}
	c.drop()
	return dst, nil
}

// drop lets go of the open blocks.
func (c *cutter) drop() {
	for i := range c.shards {
		c.letGo(&c.shards[i])
	}
}
