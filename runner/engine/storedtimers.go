package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend"
)

// storedTimers is what a shard's timers are in the store, of a job that outlives its
// process. A timer has two records there, or three:
//
//	recordTimer  by its id: where its second record is (not of timers that are told
//	             apart by their places, see placed)
//	recordDue    in the order in which they fire: the timer
//	recordHold   in the order of the holds, if the due time doesn't tell the hold
//
// and the shard has one, recordHead, with what must be known to go on: where the first
// of each order is. So a restart reads that and the next few timers, however many there
// are, and never passes over what was deleted before.
//
// A timer is in memory, or in the store alone. What changed is in memory until an
// epoch with it is durable, so memory always knows better than the store: what the
// store says of an id that is in memory, or in changed, is old.
//
// As with shardTimers, the shard's running bundle has it, or the loop between bundles. The
// methods of a nil *storedTimers are those of a shard that has all in memory.
type storedTimers struct {
	journal *journal
	read    func() (statebackend.Reader, error)
	// byPlace: whoever looks for a timer knows its place, and asks findAt, but for shared
	// timers.
	byPlace bool
	// complete gives a timer that was read what only the stage knows.
	complete func(*timer) error
	// durable is the last epoch that is.
	durable *atomic.Uint64
	changed unwritten

	// total is how many timers there are, in memory and not. It may be too high
	// after an update has dropped some.
	total int
	// alone has the ids of those that are in the store alone: all of them if it has as many
	// as there are.
	alone idSet
	// next are moments before which no timer fires that is in the store alone; hold is
	// the same for what recordHold has, and sure if there is one at that.
	next [domains]moment
	hold moment
	sure bool

	// limit is how many bytes of timers may stay in memory, evictAt when to look; page is how
	// many timers are read at once.
	limit, evictAt int64
	page           int
	// err is why fill has failed.
	err error
}

// moment is a place in an order of timers: a time in ms, and among equal ones the order
// in which they were set.
type moment struct {
	at  int64
	seq uint64
}

// never is behind all timers, those that never fire too.
var never = moment{core.MaxTime, math.MaxUint64}

func (m moment) before(o moment) bool { return m.at < o.at || m.at == o.at && m.seq < o.seq }

func (m moment) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(appendSort(b, m.at), m.seq)
}

const momentBytes = 16

func readMoment(b []byte) moment {
	return moment{readSort(b), binary.BigEndian.Uint64(b[8:])}
}

// A page of timers is read at once: so many, or so many bytes.
const (
	pageTimers     = 1000
	timerPageBytes = 64 << 10
)

func newStoredTimers(j *journal, read func() (statebackend.Reader, error), durable *atomic.Uint64, limit int64) *storedTimers {
	return &storedTimers{
		journal: j, read: read, durable: durable, complete: func(*timer) error { return nil },
		changed: newUnwritten(), next: [domains]moment{never, never}, hold: never,
		alone: idSet{limit: int(limit / idBytes)},
		limit: limit, evictAt: limit, page: pageTimers,
	}
}

// held says that the timer's hold can't be told from when it fires. A hold right before
// that holds nothing: the watermark doesn't come there before the timer is due.
func (t *timer) held() bool {
	return t.hold != core.MaxTime && (t.domain != eventTime || t.hold < t.fire-1)
}

func (t *timer) holdMoment() moment { return moment{t.hold, t.seq} }

func (st *storedTimers) idKey(id string) string { return st.journal.key(recordTimer) + id }

func (st *storedTimers) dueKey(d domain, m moment) string {
	return string(m.append(append([]byte(st.journal.key(recordDue)), byte(d))))
}

func (st *storedTimers) holdKey(m moment) string {
	return string(m.append([]byte(st.journal.key(recordHold))))
}

func (st *storedTimers) placed(t *timer) bool { return st.byPlace && !isShared(t.id) }

// rewrite writes a timer's data again.
func (st *storedTimers) rewrite(t *timer) {
	if st == nil {
		return
	}
	st.changed.note(t.id)
	st.journal.put(st.dueKey(t.domain, t.moment()), t.record())
}

// put writes down a new timer.
func (st *storedTimers) put(t *timer) {
	if st == nil {
		return
	}
	st.total++
	st.changed.note(t.id)
	if !st.placed(t) {
		st.journal.put(st.idKey(t.id), t.place())
	}
	st.journal.put(st.dueKey(t.domain, t.moment()), t.record())
	if t.held() {
		st.journal.put(st.holdKey(t.holdMoment()), []byte(t.id))
	}
}

// drop deletes a timer that was in memory.
func (st *storedTimers) drop(t *timer) {
	if st == nil {
		return
	}
	st.total--
	st.changed.note(t.id)
	if !st.placed(t) {
		st.journal.drop(st.idKey(t.id))
	}
	if st.byPlace && isShared(t.id) {
		st.journal.drop(st.dueKey(t.domain, t.moment())) // it may have been written over
	} else {
		st.journal.dropOnce(st.dueKey(t.domain, t.moment()))
	}
	if t.held() {
		st.journal.dropOnce(st.holdKey(t.holdMoment()))
	}
}

// first says that no timer in the store alone fires before this one.
func (st *storedTimers) first(t *timer) bool {
	return st == nil || t.moment().before(st.next[t.domain])
}

// leastHold is the least hold of timers in the store alone.
func (st *storedTimers) leastHold() int64 {
	if st == nil {
		return core.MaxTime
	}
	least := st.hold.at
	if at := st.next[eventTime].at; at < core.MaxTime && at > core.MinTime {
		least = min(least, at-1) // see held
	}
	return least
}

// may says whether a timer may be set.
func (s *shardTimers) may(id []byte) bool {
	if s.byID[string(id)] != nil {
		return true
	}
	st := s.stored
	if st == nil || st.total == len(s.byID) || st.changed.has(string(id)) {
		return false
	}
	return st.alone.n != st.total-len(s.byID) || st.alone.may(id)
}

// find returns a timer, brought into memory if need be; nil if it is not set. It must
// be asked before a timer is set or cleared.
func (s *shardTimers) find(id []byte) (*timer, error) {
	st := s.stored
	if t := s.byID[string(id)]; t != nil || !s.may(id) {
		return t, nil
	}
	r, err := st.read()
	if err != nil || r == nil {
		return nil, err
	}
	place, found, err := r.Get(nil, []byte(st.idKey(string(id))))
	if err != nil || !found {
		return nil, err
	}
	d, m, err := readPlace(place)
	if err != nil {
		return nil, fmt.Errorf("timer %x: %w", id, err)
	}
	if err := s.findAt(id, d, m); err != nil {
		return nil, err
	}
	return s.byID[string(id)], nil
}

// findAt brings a timer into memory, if need be, that is set, and of which it is known when it
// fires.
func (s *shardTimers) findAt(id []byte, d domain, m moment) error {
	if s.byID[string(id)] != nil || s.stored == nil {
		return nil
	}
	r, err := s.stored.read()
	if err != nil {
		return err
	}
	data, found, err := r.Get(nil, []byte(s.stored.dueKey(d, m)))
	if err != nil {
		return fmt.Errorf("timer %x: %w", id, err)
	}
	if !found {
		return fmt.Errorf("timer %x is not where it was set: %w", id, statebackend.ErrCorrupt)
	}
	t, err := readTimerRecord(d, m, data)
	if err != nil {
		return err
	}
	if t.id != string(id) {
		return fmt.Errorf("timer %x is where %x should be: %w", t.id, id, statebackend.ErrCorrupt)
	}
	return s.enter(t)
}

// ids are those in the store that begin with prefix; some may be gone already.
func (st *storedTimers) ids(prefix []byte) (ids [][]byte, err error) {
	r, err := st.read()
	if err != nil || r == nil {
		return nil, err
	}
	key := st.journal.key(recordTimer)
	err = r.Scan([]byte(key+string(prefix)), prefixEnd(key+string(prefix)), func(k, _ []byte) bool {
		ids = append(ids, slices.Clone(k[len(key):]))
		return true
	})
	return ids, err
}

// enter takes a timer into memory that was in the store alone.
func (s *shardTimers) enter(t *timer) error {
	if err := s.stored.complete(t); err != nil {
		return err
	}
	if t.held() && t.holdMoment() == s.stored.hold {
		s.stored.sure = false
	}
	if s.stored.alone.remove(t.id) {
		s.mem.add(memState, -idBytes)
	}
	s.insert(t)
	return nil
}

// fill brings timers into memory until the next of each domain is there, and lets go of
// the last ones if they are too many. If it fails, failed says so: what the core
// hears of is then too early, and the shard runs again.
func (s *shardTimers) fill() {
	st := s.stored
	if st == nil {
		return
	}
	st.changed.settle(st.durable.Load())
	err := s.page(eventTime)
	if err == nil {
		err = s.page(processingTime)
	}
	if err == nil {
		err = s.findHold()
	}
	if err == nil && s.expiring != nil {
		s.expiring.stored.changed.settle(st.durable.Load())
		err = s.expiring.fill()
	}
	if err != nil {
		st.err = err
		return
	}
	s.evict()
}

// failed returns why the last summary may be too early.
func (s *shardTimers) failed() error {
	if s.stored == nil {
		return nil
	}
	err := s.stored.err
	s.stored.err = nil
	return err
}

// page reads timers of a domain until the next one is in memory.
func (s *shardTimers) page(d domain) error {
	st := s.stored
	end := prefixEnd(st.journal.key(recordDue) + string(rune(d)))
	for st.next[d] != never && (len(s.queue[d]) == 0 || !st.first(s.queue[d][0])) {
		r, err := st.read()
		if err != nil {
			return err
		}
		var bad error
		var found []*timer
		next := never
		seen, bytes := 0, int64(0)
		err = r.Scan([]byte(st.dueKey(d, st.next[d])), end, func(k, v []byte) bool {
			if len(k) < momentBytes {
				bad = fmt.Errorf("timer record %x: %w", k, statebackend.ErrCorrupt)
				return false
			}
			m := readMoment(k[len(k)-momentBytes:])
			if seen == st.page || bytes >= timerPageBytes {
				next = m
				return false
			}
			var t *timer
			if t, bad = readTimerRecord(d, m, v); bad != nil {
				return false
			}
			seen++
			if s.byID[t.id] == nil && !st.changed.has(t.id) {
				found, bytes = append(found, t), bytes+t.size()
			}
			return true
		})
		if err == nil {
			err = bad
		}
		if err != nil {
			return err
		}
		for _, t := range found {
			if err := s.enter(t); err != nil {
				return err
			}
		}
		st.next[d] = next
	}
	return nil
}

// findHold looks for the first hold of a timer that is in the store alone.
func (s *shardTimers) findHold() error {
	st := s.stored
	if st.sure || st.hold == never {
		return nil
	}
	r, err := st.read()
	if err != nil {
		return err
	}
	next := never
	err = r.Scan([]byte(st.holdKey(st.hold)), prefixEnd(st.journal.key(recordHold)), func(k, id []byte) bool {
		if s.byID[string(id)] != nil || st.changed.has(string(id)) || len(k) < momentBytes {
			return true
		}
		next = readMoment(k[len(k)-momentBytes:])
		return false
	})
	if err != nil {
		return err
	}
	st.hold, st.sure = next, true
	return nil
}

// evict lets go of timers that fire last and are in the store as they are.
func (s *shardTimers) evict() {
	st := s.stored
	if s.bytes <= st.evictAt {
		return
	}
	for d := range s.queue {
		q := slices.Clone(s.queue[d])
		slices.SortFunc(q, func(a, b *timer) int {
			if a.moment().before(b.moment()) {
				return 1
			}
			return -1
		})
		for _, t := range q[:max(0, len(q)-1)] {
			if s.bytes <= st.limit/2 {
				break
			}
			if st.changed.has(t.id) {
				continue
			}
			s.remove(t)
			if st.alone.add(t.id) {
				s.mem.add(memState, idBytes)
			}
			if t.owner != "" {
				s.expiring.timerAway(t.owner, t.id)
			}
			if t.moment().before(st.next[d]) {
				st.next[d] = t.moment()
			}
			if t.held() && t.holdMoment().before(st.hold) {
				st.hold, st.sure = t.holdMoment(), true
			}
		}
	}
	st.evictAt = max(st.limit, s.bytes+st.limit/2)
}

// head is what a restart must know of the shard.
func (s *shardTimers) head() []byte {
	b := binary.AppendUvarint(nil, uint64(s.windows.total))
	b = binary.AppendUvarint(b, uint64(s.stored.total))
	b = binary.AppendUvarint(b, s.seq)
	for d := range domains {
		b = s.low(d).append(b)
	}
	b = moment{at: min(s.holds.min(), s.stored.hold.at)}.append(b)
	low := int64(core.MaxTime)
	if s.expiring != nil {
		low = s.expiring.low()
	}
	return appendSort(b, low)
}

// recover goes on from what head has written. The shard is new.
func (s *shardTimers) recover(r statebackend.Reader) error {
	key := s.stored.journal.key(recordHead)
	b, found, err := r.Get(nil, []byte(key))
	if err != nil || !found {
		return err
	}
	var windows, total uint64
	for _, v := range []*uint64{&windows, &total, &s.seq} {
		var n int
		if *v, n = binary.Uvarint(b); n <= 0 {
			return fmt.Errorf("timers %x: %w", key, statebackend.ErrCorrupt)
		}
		b = b[n:]
	}
	if len(b) != 3*momentBytes+8 {
		return fmt.Errorf("timers %x: %w", key, statebackend.ErrCorrupt)
	}
	s.windows.total, s.stored.total = int(windows), int(total)
	for d := range domains {
		s.stored.next[d] = readMoment(b)
		b = b[momentBytes:]
	}
	s.stored.hold, s.stored.sure = readMoment(b), false
	if s.stored.hold.at == core.MaxTime {
		s.stored.hold = never
	}
	if s.expiring != nil {
		s.expiring.seek(readSort(b[momentBytes:]))
	}
	s.fill()
	return s.failed()
}

// commit says that what has changed goes into an epoch, and returns it. The loop calls it.
func (s *shardTimers) commit(epoch uint64) changes {
	if s.stored == nil {
		return nil
	}
	c := s.stored.journal.take()
	if len(c) == 0 {
		return nil
	}
	s.stored.changed.commit(epoch)
	if s.expiring != nil {
		s.expiring.stored.changed.commit(epoch)
	}
	c[s.stored.journal.key(recordHead)] = s.head()
	return c
}
