package engine

import (
	"container/heap"
	"fmt"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// domain is the clock a timer waits for.
type domain int

const (
	eventTime domain = iota
	processingTime
	domains
)

// timer is one set timer. Its data is what the worker gets when it fires.
type timer struct {
	id     string
	domain domain
	// fire and hold in ms; hold is core.MaxTime if it holds nothing.
	fire, hold int64
	seq        uint64 // equal times fire in the order in which they were set
	family     TimerFamily
	data       []byte
	// owner is set where expiries are waited for, for timers in processing time.
	owner string
	at    int // index in its heap, -1 while it is out
}

// shardTimers are one shard's timers. Only the shard's running bundle touches them,
// or the loop between two bundles: a shard of a stage with timers is in one bundle
// at a time, and its start and end go through the loop.
//
// A job that outlives its process has only the next of them in memory, and those
// that were touched of late; see storedTimers.
type shardTimers struct {
	byID  map[string]*timer // those in memory
	queue [domains]timerHeap
	holds holdSet
	seq   uint64
	// windows are those of a grouping that have a value in state.
	windows windowSet
	// expiring is nil for a stage whose state doesn't expire.
	expiring *expiries
	// stored is nil for a job that nobody goes on with: all timers are in memory.
	stored *storedTimers
	// mem has what timers take as state, bytes what that is.
	mem   *memory
	bytes int64
}

// size is about what a timer takes.
func (t *timer) size() int64 { return 160 + 2*int64(len(t.id)) + int64(len(t.data)) }

// moment is when it fires among timers of its domain.
func (t *timer) moment() moment { return moment{t.fire, t.seq} }

func newShardTimers(mem *memory) *shardTimers {
	return &shardTimers{
		mem: mem, byID: make(map[string]*timer), holds: newHoldSet(), seq: sharedSeq,
		windows: windowSet{mem: mem},
	}
}

// reserve returns the number of a timer that is set later.
func (s *shardTimers) reserve() uint64 {
	s.seq++
	return s.seq
}

// set adds a timer, in place of one of the same id, which find has looked for. It gets a
// number, unless it has a reserved one.
func (s *shardTimers) set(t timer) {
	s.clear(t.id)
	if t.seq == 0 {
		t.seq = s.reserve()
	}
	s.insert(&t)
	s.stored.put(&t)
}

// clear takes a timer out that find has looked for.
func (s *shardTimers) clear(id string) {
	t := s.byID[id]
	if t == nil {
		return
	}
	s.remove(t)
	s.stored.drop(t)
	if t.owner != "" {
		s.expiring.timerGone(t.owner, id)
	}
}

// rewrite gives a timer that waits other data.
func (s *shardTimers) rewrite(t *timer, data []byte) {
	more := int64(len(data) - len(t.data))
	s.mem.add(memState, more)
	s.bytes += more
	t.data = data
	s.stored.rewrite(t)
}

// insert takes a timer into memory, remove out of it.
func (s *shardTimers) insert(t *timer) {
	s.byID[t.id] = t
	s.mem.add(memState, t.size())
	s.bytes += t.size()
	if t.owner != "" {
		s.expiring.timerSet(t.owner, t.id)
	}
	s.holds.add(t.hold)
	heap.Push(&s.queue[t.domain], t)
}

func (s *shardTimers) remove(t *timer) {
	delete(s.byID, t.id)
	s.mem.add(memState, -t.size())
	s.bytes -= t.size()
	s.holds.remove(t.hold)
	if t.at >= 0 {
		heap.Remove(&s.queue[t.domain], t.at)
	}
}

// take takes out up to limit timers that are due, in order, of those in memory: the
// others come after the next call of summary. They keep their holds until they are
// cleared, and go back in with restore.
func (s *shardTimers) take(event, processing int64, limit int) []*timer {
	var due []*timer
	for d, now := range [domains]int64{event, processing} {
		q := &s.queue[d]
		for len(*q) > 0 && (*q)[0].fire <= now && len(due) < limit && s.stored.first((*q)[0]) {
			due = append(due, heap.Pop(q).(*timer))
		}
	}
	return due
}

// restore puts timers back that take has taken out, but for those changed since.
func (s *shardTimers) restore(taken []*timer) {
	for _, t := range taken {
		if s.byID[t.id] == t && t.at < 0 {
			heap.Push(&s.queue[t.domain], t)
		}
	}
}

// summary is what the core needs to know. Timers that are next are brought into memory.
func (s *shardTimers) summary() *core.Timers {
	s.fill()
	sum := core.NoTimers
	sum.Event, sum.Processing = s.low(eventTime).at, s.low(processingTime).at
	if s.expiring != nil {
		sum.Event = min(sum.Event, s.expiring.next())
	}
	sum.Hold = min(s.holds.min(), s.stored.leastHold())
	if s.expiring != nil {
		sum.Hold = min(sum.Hold, s.expiring.storedHold())
	}
	return &sum
}

// low is a moment before which no timer of the domain fires: that of the next one, or a
// bit earlier.
func (s *shardTimers) low(d domain) moment {
	next := never
	if s.stored != nil {
		next = s.stored.next[d]
	}
	if q := s.queue[d]; len(q) > 0 && q[0].moment().before(next) {
		next = q[0].moment()
	}
	return next
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if h[i].fire != h[j].fire {
		return h[i].fire < h[j].fire
	}
	return h[i].seq < h[j].seq
}
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.at = len(*h)
	*h = append(*h, t)
}
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.at = -1
	return t
}

// holdSet counts holds and knows the least.
type holdSet struct {
	count map[int64]int
	times int64Heap
}

func newHoldSet() holdSet { return holdSet{count: make(map[int64]int)} }

func (h *holdSet) add(t int64) {
	if t == core.MaxTime {
		return
	}
	if h.count[t]++; h.count[t] == 1 {
		heap.Push(&h.times, t)
	}
}

func (h *holdSet) remove(t int64) {
	if t == core.MaxTime {
		return
	}
	if h.count[t]--; h.count[t] == 0 {
		delete(h.count, t)
	}
	// Times that are gone leave the heap when they come to its top; a time that
	// went and came back may be in it twice, which does no harm.
	for len(h.times) > 0 && h.count[h.times[0]] == 0 {
		heap.Pop(&h.times)
	}
}

func (h *holdSet) min() int64 {
	if len(h.times) == 0 {
		return core.MaxTime
	}
	return h.times[0]
}

type int64Heap []int64

func (h int64Heap) Len() int           { return len(h) }
func (h int64Heap) Less(i, j int) bool { return h[i] < h[j] }
func (h int64Heap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *int64Heap) Push(x any)        { *h = append(*h, x.(int64)) }
func (h *int64Heap) Pop() any {
	old := *h
	t := old[len(old)-1]
	*h = old[:len(old)-1]
	return t
}

// timerFamily is one declared family of a stage, ready to read.
type timerFamily struct {
	scan   *coders.Timers
	domain domain
}

func timerDomain(d pipepb.TimeDomain_Enum) domain {
	if d == pipepb.TimeDomain_PROCESSING_TIME {
		return processingTime
	}
	return eventTime
}

// readTimers decodes what a bundle wrote to a family's stream, one timer for each
// window, and calls set or clear.
func readTimers(f TimerFamily, tf *timerFamily, data []byte, set func(timer), clear func(id string)) error {
	var e coders.TimerElement
	for len(data) > 0 {
		n, err := tf.scan.Next(data, &e)
		if err != nil {
			return fmt.Errorf("transform %s: timer family %s: %w: %w", f.Transform, f.Family, errCoder, err)
		}
		data = data[n:]
		windows := e.Windows
		for range e.NumWindows {
			wn, err := tf.scan.Window().Next(windows)
			if err != nil {
				return fmt.Errorf("transform %s: timer family %s: window: %w: %w", f.Transform, f.Family, errCoder, err)
			}
			one := e
			one.Windows, one.NumWindows = windows[:wn], 1
			windows = windows[wn:]
			id := timerID(f, &one)
			if e.Clear {
				clear(id)
				continue
			}
			hold := e.Hold
			if hold >= coders.MaxTimestamp {
				hold = core.MaxTime // set without an output timestamp: it holds nothing
			}
			set(timer{id: id, domain: tf.domain, fire: e.Fire, hold: hold, family: f, data: coders.AppendTimer(nil, &one)})
		}
	}
	return nil
}

// timerID tells timers of one transform apart: a timer set again replaces the one of the
// same id.
func timerID(f TimerFamily, e *coders.TimerElement) string {
	return string(appendPart(timerIDs(f.Family, e.Key, e.Windows), e.Tag))
}

// timerIDs is what ids of a key and window in a family begin with.
func timerIDs(family string, key, window []byte) []byte {
	return appendPart(appendPart(appendPart([]byte(nil), family), key), window)
}
