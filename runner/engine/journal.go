package engine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/summerbeam/summerbeam/statebackend"
)

// journal has what a bundle or grouping changed in its shard's timers, as records for
// the store: key to value, nil where the record goes.
//
// Timers are changed at a bundle's end, in its goroutine, before the loop hears of it.
// An epoch that is cut in between must not have them, since it has the bundle's input
// still. So changes wait here until the loop commits the bundle.
type journal struct {
	slot, shard int
	changes     changes
}

// changes are records by key; nil is for a record that goes.
type changes map[string][]byte

func newJournal(slot, shard int) *journal {
	return &journal{slot: slot, shard: shard, changes: make(changes)}
}

// key is the prefix of the shard's records of a kind.
func (j *journal) key(kind byte) string { return journalPrefix(kind, j.slot, j.shard) }

func (j *journal) put(key string, value []byte) { j.changes[key] = value }
func (j *journal) drop(key string)              { j.changes[key] = nil }

// dropOnce is drop for a key that is put only once: if that is still here the store never
// hears of it.
func (j *journal) dropOnce(key string) {
	if j.changes[key] != nil {
		delete(j.changes, key)
		return
	}
	j.drop(key)
}

// take returns what has changed since the last call.
func (j *journal) take() changes {
	if len(j.changes) == 0 {
		return nil
	}
	c := j.changes
	j.changes = make(changes)
	return c
}

// Records of a job that outlives its process: recoveryMark, a kind, and by kind what
// follows. No cell's key begins so: cells begin with a key group.
const (
	recoveryMark = 0xff

	recordCore    = 'c' // one record: the core's snapshot
	recordMetrics = 'm' // one record: committed metrics
	recordLetters = 'l' // one record: the length of the file of dead letters
	recordBlock   = 'b' // block id -> payload kind and bytes
	recordSide    = 's' // slot, number -> as a block's, behind its hold and count
	recordTimer   = 't' // slot, shard, timer id -> where its next record is
	recordDue     = 'd' // slot, shard, domain, moment -> timer
	recordHold    = 'h' // slot, shard, moment -> timer id
	recordExpiry  = 'x' // slot, shard, window's end, window and key -> nothing
	recordHead    = 'q' // slot, shard -> where the shard's timers and expiries begin
)

func journalPrefix(kind byte, slot, shard int) string {
	b := binary.BigEndian.AppendUint16([]byte{recoveryMark, kind}, uint16(slot))
	return string(binary.BigEndian.AppendUint16(b, uint16(shard)))
}

// timerRecords are the kinds that a shard's timers and expiries have.
var timerRecords = []byte{recordTimer, recordDue, recordHold, recordExpiry, recordHead}

// place says where the timer's record is.
func (t *timer) place() []byte {
	return t.moment().append([]byte{byte(t.domain)})
}

func readPlace(b []byte) (d domain, m moment, err error) {
	if len(b) != 1+momentBytes || b[0] >= byte(domains) {
		return 0, m, statebackend.ErrCorrupt
	}
	return domain(b[0]), readMoment(b[1:]), nil
}

// record is the timer without its domain and moment, which are its key, and without its
// transform, which its slot tells.
func (t *timer) record() []byte {
	b := make([]byte, 0, 16+len(t.id)+len(t.family.Family)+len(t.data))
	b = appendPart(b, t.id)
	b = binary.AppendVarint(b, t.hold)
	b = appendPart(b, t.family.Family)
	return append(b, t.data...)
}

// readTimerRecord is record's inverse; the value is copied.
func readTimerRecord(d domain, m moment, value []byte) (*timer, error) {
	t := &timer{domain: d, fire: m.at, seq: m.seq}
	bad := fmt.Errorf("timer at %d: %w", m.at, statebackend.ErrCorrupt)
	id, rest, ok := readPart(value)
	if !ok {
		return nil, bad
	}
	hold, n := binary.Varint(rest)
	if n <= 0 {
		return nil, bad
	}
	family, rest, ok := readPart(rest[n:])
	if !ok {
		return nil, bad
	}
	t.id, t.hold, t.family.Family = string(id), hold, string(family)
	t.data = append([]byte(nil), rest...)
	return t, nil
}

// readPart takes off what appendPart has put in front, if it is whole.
func readPart(b []byte) (part, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 || v > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(v)], b[n+int(v):], true
}

// storeTimers lets the stage's timers be kept in the store.
func (r *stageRun) storeTimers(read func() (statebackend.Reader, error), durable *atomic.Uint64, mem *memory) {
	store := func(slot int, all []*shardTimers) {
		for i, s := range all {
			j := newJournal(slot, i)
			s.stored = newStoredTimers(j, read, durable, timerShare(mem, len(all)))
			if s.expiring != nil {
				s.expiring.stored = newStoredKeys(j, read, r, s.stored.limit)
			}
		}
	}
	store(r.slots.state, r.timers)
	for _, s := range r.timers {
		s.stored.complete = r.completeTimer
	}
	if r.held != nil {
		store(r.slots.held, r.held.timers)
		for _, s := range r.held.timers {
			s.stored.byPlace = r.trigger != nil
		}
	}
}

// timerShare is what timers of one shard may take in memory: a sixteenth of the budget
// for a stage.
func timerShare(mem *memory, shards int) int64 {
	return mem.share(16*int64(shards), 4*timerPageBytes, 64<<20)
}

// completeTimer gives a timer of the user's what its record doesn't have.
func (r *stageRun) completeTimer(t *timer) (err error) {
	t.family.Transform = r.root()
	if r.timerScans[t.family] == nil {
		return fmt.Errorf("stage %s: timer of family %q, which is not declared: %w", r.plan.ID, t.family.Family, statebackend.ErrCorrupt)
	}
	t.owner, err = r.waitedFor(t)
	return err
}

// restoreTimers goes on with the timers and expiries that the store has.
func (r *stageRun) restoreTimers(st statebackend.Reader) error {
	all := r.timers
	if r.held != nil {
		all = slices.Concat(all, r.held.timers)
	}
	for _, s := range all {
		if err := s.recover(st); err != nil {
			return fmt.Errorf("stage %s: %w", r.plan.ID, err)
		}
	}
	return nil
}
