package engine

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync/atomic"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend"
	"google.golang.org/protobuf/proto"
)

// A job that outlives its process writes with each epoch's state what belongs to it:
// the core's snapshot, the blocks in its queues, the timers, the side inputs and the
// committed metrics. All go into one batch. Blocks and timers are written once, and
// deleted when they are gone; what came and went between two epochs is never written.
type durability struct {
	// stored are the blocks in the store, or on their way there.
	stored map[uint64]bool
	// changes of timers and sides, in order, since the last cut.
	changes []changes
	sides   []sideRecord
	// letters are dead letters that go into the file with the next epoch.
	letters []byte
	// sideCount numbers the blocks of each side input.
	sideCount map[[2]int]uint64
	// next is the epoch that what is noted now goes into, written the last that is durable.
	next    uint64
	written atomic.Uint64

	// Of a job that goes on from stages, nil for others: segs has the bytes of blocks, places
	// says where those lie that the last durable epoch names, and writing is the cut that is
	// being written.
	segs    *segments
	places  map[uint64]*spilled
	writing *cut
}

// sideRecord is a block that went into a side input.
type sideRecord struct {
	key   []byte
	stage int
	block core.Block
}

// freshBlock is a block that is to be written, and where it is if that is in a segment file.
type freshBlock struct {
	core.QueuedBlock
	stage int
	at    *spilled
}

// cut is what an epoch has besides state.
type cut struct {
	snap    *core.Snapshot
	slots   Slots
	fresh   []freshBlock
	gone    []uint64
	changes []changes
	sides   []sideRecord
	metrics *fnpb.ProcessBundleProgressResponse
	letters []byte
	// segs is the durability's.
	segs *segments
}

// coreRecord is how a snapshot is written.
type coreRecord struct {
	Version  int
	Slots    Slots
	Snapshot *core.Snapshot
}

// recoveryVersion changes with whatever of these records changes its meaning.
const recoveryVersion = 6

func newDurability() *durability {
	return &durability{stored: make(map[uint64]bool), sideCount: make(map[[2]int]uint64), next: 1}
}

// noteSide remembers a block for the next epoch. What it has on disk stays there until
// then. The loop calls it, before the side input gets the block.
func (d *durability) noteSide(stage, side, slot int, b core.Block) {
	at := [2]int{stage, side}
	key := sidePrefix(slot)
	key = binary.BigEndian.AppendUint64(key, d.sideCount[at])
	d.sideCount[at]++
	pin(b.Payload)
	d.sides = append(d.sides, sideRecord{key: key, stage: stage, block: b})
}

func sidePrefix(slot int) []byte {
	return binary.BigEndian.AppendUint16([]byte{recoveryMark, recordSide}, uint16(slot))
}

// noteTimers takes what a committed bundle or grouping has changed in timers.
func (d *durability) noteTimers(s *shardTimers) {
	if c := s.commit(d.next); c != nil {
		d.changes = append(d.changes, c)
	}
}

// cut takes what goes into the epoch whose layers are frozen now. The loop calls it.
func (j *Job) cut() *cut {
	d := j.durable
	d.letGo()
	c := &cut{snap: j.core.Snapshot(), slots: j.slots, changes: d.changes, sides: d.sides, letters: d.letters, segs: d.segs}
	d.writing = c
	d.changes, d.sides, d.letters = nil, nil, nil
	live := make(map[uint64]bool, len(d.stored))
	for i := range c.snap.Stages {
		c.snap.Stages[i].Each(func(q *core.QueuedBlock) {
			id := uint64(q.ID)
			live[id] = true
			if !d.stored[id] {
				pin(q.Payload)
				c.fresh = append(c.fresh, freshBlock{QueuedBlock: *q, stage: i})
			}
		})
	}
	for id := range d.stored {
		if !live[id] {
			c.gone = append(c.gone, id)
		}
	}
	d.stored = live
	c.metrics = &fnpb.ProcessBundleProgressResponse{MonitoringInfos: j.metrics.Committed()}
	return c
}

// put adds the cut's records to an epoch's batch.
func (c *cut) put(b statebackend.Batch) error {
	data, err := json.Marshal(coreRecord{Version: recoveryVersion, Slots: c.slots, Snapshot: c.snap})
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	b.Put([]byte{recoveryMark, recordCore}, data)
	if data, err = proto.Marshal(c.metrics); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	b.Put([]byte{recoveryMark, recordMetrics}, data)
	var places []*spilled
	appendBlock := func(dst []byte, stage int, payload any) ([]byte, *spilled, error) {
		at, err := c.place(stage, payload)
		if err != nil || at == nil {
			dst, err = appendPayload(dst, payload)
			return dst, nil, err
		}
		places = append(places, at)
		return at.appendPlace(append(dst, payloadPlace)), at, nil
	}
	for i := range c.fresh {
		q := &c.fresh[i]
		if data, q.at, err = appendBlock(nil, q.stage, q.Payload); err != nil {
			return fmt.Errorf("block %d: %w", q.ID, err)
		}
		b.Put(blockKey(uint64(q.ID)), data)
	}
	for _, id := range c.gone {
		b.Delete(blockKey(id))
	}
	for _, s := range c.sides {
		data = binary.AppendVarint(nil, s.block.Hold)
		data = binary.AppendVarint(data, s.block.Count)
		if data, _, err = appendBlock(data, s.stage, s.block.Payload); err != nil {
			return fmt.Errorf("side input: %w", err)
		}
		b.Put(s.key, data)
	}
	if c.segs != nil {
		if err := c.segs.sync(places); err != nil {
			return err
		}
	}
	for _, ch := range c.changes {
		for key, value := range ch {
			if value == nil {
				b.Delete([]byte(key))
			} else {
				b.Put([]byte(key), value)
			}
		}
	}
	return nil
}

// place finds a payload's place in a segment file, and makes one for what is in memory. It is
// nil for payloads that have no bytes, and for jobs whose epochs have the bytes themselves.
func (c *cut) place(stage int, payload any) (*spilled, error) {
	if c.segs == nil {
		return nil, nil
	}
	switch p := payload.(type) {
	case nil, int:
		return nil, nil
	case *spilled:
		return p, nil
	}
	data, err := payloadBytes(payload)
	if err != nil {
		return nil, err
	}
	return c.segs.write(stage, data)
}

// letGo lets go of the places that the last cut, which is durable now, doesn't name. The loop
// calls it.
func (d *durability) letGo() {
	c := d.writing
	d.writing = nil
	if c == nil || d.segs == nil {
		return
	}
	for i := range c.fresh {
		if q := &c.fresh[i]; q.at != nil {
			d.places[uint64(q.ID)] = q.at
		}
	}
	for _, id := range c.gone {
		if p := d.places[id]; p != nil {
			p.free()
			delete(d.places, id)
		}
	}
}

// epoch is the number of the cut that is being written, 0 if there is none.
func (d *durability) epoch() uint64 {
	if d.writing == nil {
		return 0
	}
	return d.writing.snap.Epoch
}

// release lets go of what the cut has kept on disk, unless the epoch needs it there.
func (c *cut) release() {
	if c.segs != nil {
		return
	}
	for i := range c.fresh {
		unpin(c.fresh[i].Payload)
	}
	for i := range c.sides {
		unpin(c.sides[i].block.Payload)
	}
}

func blockKey(id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{recoveryMark, recordBlock}, id)
}

// Kinds of payloads in the store.
const (
	payloadNone  = 'n' // an impulse
	payloadEvent = 'e' // a TestStream's event, by its index
	payloadData  = 'd' // elements
	payloadPlace = 'p' // elements in a segment file: the place
)

func appendPayload(dst []byte, p any) ([]byte, error) {
	switch p := p.(type) {
	case nil:
		return append(dst, payloadNone), nil
	case int:
		return binary.AppendUvarint(append(dst, payloadEvent), uint64(p)), nil
	}
	data, err := payloadBytes(p)
	return append(append(dst, payloadData), data...), err
}

// readPayload is appendPayload's inverse; bytes are copied. segs has those of a stage that are
// in segment files.
func readPayload(b []byte, segs *segments, stage int) (any, error) {
	if len(b) == 0 {
		return nil, statebackend.ErrCorrupt
	}
	switch b[0] {
	case payloadNone:
		return nil, nil
	case payloadEvent:
		if n, w := binary.Uvarint(b[1:]); w == len(b)-1 {
			return int(n), nil
		}
	case payloadData:
		return append([]byte(nil), b[1:]...), nil
	case payloadPlace:
		if segs != nil {
			return segs.adopt(stage, b[1:])
		}
	}
	return nil, statebackend.ErrCorrupt
}

// pin keeps what a payload has on disk until unpin, whoever else lets go of it.
func pin(p any) {
	if s, ok := p.(*spilled); ok {
		s.pin()
	}
}

func unpin(p any) {
	if s, ok := p.(*spilled); ok {
		s.free()
	}
}
