package engine

import (
	"encoding/binary"
	"fmt"

	"github.com/summerbeam/summerbeam/statebackend"
)

// journal has what a bundle or grouping changed in its shard's timers, as records for
// the store: key to value, nil where the record goes. A nil *journal keeps nothing:
// that is a job that nobody will go on with.
//
// Timers are changed at a bundle's end, in its goroutine, before the loop hears of it.
// An epoch that is cut in between must not have them, since it has the bundle's input
// still. So changes wait here until the loop commits the bundle.
type journal struct {
	prefix  string
	changes changes
}

// changes are records by key; nil is for a record that goes.
type changes map[string][]byte

func newJournal(kind byte, slot, shard int) *journal {
	return &journal{prefix: journalPrefix(kind, slot, shard), changes: make(changes)}
}

func (j *journal) put(id string, value []byte) {
	if j != nil {
		j.changes[j.prefix+id] = value
	}
}

func (j *journal) drop(id string) {
	if j != nil {
		j.changes[j.prefix+id] = nil
	}
}

// take returns what has changed since the last call.
func (j *journal) take() changes {
	if j == nil || len(j.changes) == 0 {
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
	recordTimer   = 't' // slot, shard, timer id -> timer
	recordTrigger = 'g' // the same, of what the input side holds
	recordExpiry  = 'x' // slot, shard, window and key -> nothing
)

func journalPrefix(kind byte, slot, shard int) string {
	b := binary.BigEndian.AppendUint16([]byte{recoveryMark, kind}, uint16(slot))
	return string(binary.BigEndian.AppendUint16(b, uint16(shard)))
}

// record is the timer without its id, which is its key, and without its transform, which
// its slot tells.
func (t *timer) record() []byte {
	b := []byte{byte(t.domain)}
	b = binary.AppendVarint(b, t.fire)
	b = binary.AppendVarint(b, t.hold)
	b = binary.AppendUvarint(b, t.seq)
	b = appendPart(b, t.family.Family)
	return append(b, t.data...)
}

// readTimerRecord is record's inverse; the value is copied.
func readTimerRecord(id string, value []byte) (t timer, err error) {
	bad := fmt.Errorf("timer %x: %w", id, statebackend.ErrCorrupt)
	if len(value) == 0 || value[0] >= byte(domains) {
		return t, bad
	}
	t = timer{id: id, domain: domain(value[0])}
	b := value[1:]
	varint := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			err = bad
			return 0
		}
		b = b[n:]
		return v
	}
	part := func() string {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > uint64(len(b)-n) {
			err = bad
			return ""
		}
		s := string(b[n : n+int(v)])
		b = b[n+int(v):]
		return s
	}
	t.fire, t.hold = varint(), varint()
	seq, n := binary.Uvarint(b)
	if n <= 0 {
		return t, bad
	}
	t.seq, b = seq, b[n:]
	t.family.Family = part()
	t.data = append([]byte(nil), b...)
	return t, err
}

// restoreTimer puts a timer back as it was.
func (s *shardTimers) restoreTimer(t timer) {
	seq := s.seq
	s.seq = t.seq - 1 // set counts it up
	s.set(t)
	s.seq = max(seq, t.seq)
}

// restoreTimers reads a stage's timers and expiries back. The shards are new, and keep no
// journal yet.
func (r *stageRun) restoreTimers(st statebackend.Reader) error {
	shards := func(kind byte, slot int, all []*shardTimers, each func(s *shardTimers, id string, value []byte) error) error {
		for i, s := range all {
			prefix := journalPrefix(kind, slot, i)
			var bad error
			err := st.Scan([]byte(prefix), prefixEnd(prefix), func(k, v []byte) bool {
				bad = each(s, string(k[len(prefix):]), v)
				return bad == nil
			})
			if err == nil {
				err = bad
			}
			if err != nil {
				return fmt.Errorf("stage %s: %w", r.plan.ID, err)
			}
		}
		return nil
	}
	err := shards(recordTimer, r.slots.state, r.timers, func(s *shardTimers, id string, value []byte) error {
		t, err := readTimerRecord(id, value)
		if err != nil {
			return err
		}
		t.family.Transform = r.root()
		if s.expiring != nil && t.domain == processingTime {
			t.owner = r.owner(&t)
		}
		s.restoreTimer(t)
		return nil
	})
	if err != nil {
		return err
	}
	err = shards(recordExpiry, r.slots.state, r.timers, func(s *shardTimers, id string, _ []byte) error {
		if s.expiring == nil {
			return fmt.Errorf("a window's expiry in a stage without: %w", statebackend.ErrCorrupt)
		}
		window, key := cutPart(id)
		return s.expiring.touch(r, window, key)
	})
	if err != nil || r.held == nil {
		return err
	}
	return shards(recordTrigger, r.slots.held, r.held.timers, func(s *shardTimers, id string, value []byte) error {
		t, err := readTimerRecord(id, value)
		if err == nil {
			s.restoreTimer(t)
		}
		return err
	})
}

// keepJournals makes the stage's shards keep journals from now on.
func (r *stageRun) keepJournals() {
	for i, s := range r.timers {
		s.journal = newJournal(recordTimer, r.slots.state, i)
		if s.expiring != nil {
			s.expiring.journal = newJournal(recordExpiry, r.slots.state, i)
		}
	}
	if r.held != nil {
		for i, s := range r.held.timers {
			s.journal = newJournal(recordTrigger, r.slots.held, i)
		}
	}
}

// takeChanges returns what the shard's journals have.
func (s *shardTimers) takeChanges() []changes {
	list := []changes{s.journal.take()}
	if s.expiring != nil {
		list = append(list, s.expiring.journal.take())
	}
	return list
}
