package engine

import (
	"fmt"

	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// A block's payload is one of
//
//	[]byte      elements that no budget counts: few, and small
//	inMemory    elements, counted
//	*spilled    elements on disk
//	*groupChunk groups whose table is in memory
//	*hotGroup   one group on disk, too large for memory
//	int         a TestStream event's index
//
// and, but for the last, drop takes it off the books when it is applied.

// inMemory is elements that memQueue counts.
type inMemory []byte

// blockOverhead is about what a block takes besides its elements, wherever they are.
const blockOverhead = 128

// keeper decides where data is kept, and keeps the books of it.
type keeper struct {
	mem  *memory
	disk *segments
	// slots is how many bundles and groupings may run at once.
	slots int64
}

// tableBytes is how large a grouping's table may become however short memory is;
// extentBytes is the size of the pieces that sorted runs are read back in. With as
// many groupings as there are slots, tables take a quarter of the budget, and
// merging an eighth.
func (k *keeper) tableBytes() int64 { return k.mem.share(4*k.slots, 4<<10, 256<<20) }
func (k *keeper) extentBytes() int  { return int(k.mem.share(8*fanIn*k.slots, 256, 256<<10)) }

// keep makes a payload of data for a stage. waits says that the stage won't look at
// it before its input is complete. If the payload is on disk, data is the caller's
// again.
func (k *keeper) keep(stage int, data []byte, waits bool) (payload any, onDisk bool, err error) {
	if k == nil {
		return data, false, nil
	}
	if k.mem.full() || waits && k.mem.waiting() {
		sp, err := k.disk.write(stage, data)
		if err != nil {
			return nil, false, err
		}
		k.mem.add(memQueue, blockOverhead)
		return sp, true, nil
	}
	k.mem.add(memQueue, int64(len(data))+blockOverhead)
	return inMemory(data), false, nil
}

// count adds to the books.
func (k *keeper) count(kind memKind, n int64) {
	if k != nil {
		k.mem.add(kind, n)
	}
}

// hold counts bytes that came as a block of their own.
func (k *keeper) hold(b *core.Block) {
	if data, ok := b.Payload.([]byte); ok && k != nil {
		k.mem.add(memQueue, int64(len(data))+blockOverhead)
		b.Payload = inMemory(data)
	}
}

// drop takes blocks off the books: nobody will read them again.
func (k *keeper) drop(blocks []core.Block) {
	if k == nil {
		return
	}
	for i := range blocks {
		switch p := blocks[i].Payload.(type) {
		case *spilled:
			p.free()
		case *groupChunk:
			p.of.release(p.to - p.from)
		case *hotGroup:
			p.free()
		}
	}
	k.mem.add(memQueue, -queuedBytes(blocks))
}

// replace puts the parts that a claim was cut into on the books in its place. What a
// spilled block has lost by the cut stays on disk until its file goes.
func (k *keeper) replace(claim []core.Block, parts ...[]core.Block) {
	n := -queuedBytes(claim)
	for _, p := range parts {
		n += queuedBytes(p)
	}
	k.mem.add(memQueue, n)
	for _, p := range parts {
		for i := range p {
			k.hold(&p[i])
		}
	}
}

// queuedBytes is what memQueue counts of blocks.
func queuedBytes(blocks []core.Block) int64 {
	var n int64
	for i := range blocks {
		switch p := blocks[i].Payload.(type) {
		case inMemory:
			n += int64(len(p)) + blockOverhead
		case *spilled:
			n += blockOverhead
		case *hotGroup:
			n += p.overhead()
		}
	}
	return n
}

// splitPayloads tells blocks that are on disk from others.
func splitPayloads(blocks []core.Block) (inMem, onDisk []core.Block) {
	for _, b := range blocks {
		if _, ok := b.Payload.(*spilled); ok {
			onDisk = append(onDisk, b)
		} else {
			inMem = append(inMem, b)
		}
	}
	return inMem, onDisk
}

// payloadBytes returns the elements of a payload that isn't groups. What was on
// disk is in memory of its own, which nobody has counted.
func payloadBytes(p any) ([]byte, error) {
	switch p := p.(type) {
	case nil:
		return nil, nil
	case []byte:
		return p, nil
	case inMemory:
		return p, nil
	case *spilled:
		return p.read()
	}
	return nil, fmt.Errorf("BUG: a block of %T where elements are expected", p)
}

// cutPayload divides a payload's elements, which are data, before byte n. The parts
// take its place, and its place on the books.
func cutPayload(p any, data []byte, n int) (head, tail any) {
	switch p := p.(type) {
	case inMemory:
		return p[:n:n], p[n:]
	case *spilled:
		return p.cut(data, n)
	}
	return data[:n:n], data[n:]
}
