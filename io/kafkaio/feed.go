package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// feed is what comes of one partition, in order. A bundle has it to itself. Between bundles it waits
// with what has been fetched, for the next one most likely goes on where the last has
// stopped; it is given up if nobody comes for a while.
type feed struct {
	key   feedKey
	con   *consumer
	next  int64 // the offset that the next record has, or a later one
	have  []*kgo.Record
	high  int64         // the first offset that the partition doesn't have yet
	ready chan struct{} // something has come

	// used says that a bundle has it, free since when none does. The consumers' lock guards both.
	used bool
	free time.Time

	// The client's lock guards what follows.
	chunks []chunk
	bytes  int   // of the chunks
	top    int64 // high, as far as it has been heard of
	err    error // what comes behind the chunks
	hungry bool  // who reads it waits
	paused bool
	// resting says that the partition is paused for an error that may be over soon, fails how often that has been so since
	// it was well.
	resting bool
	fails   int
	asked   int64 // where to begin, until something has come; -1 then
}

// chunk is what one fetch has brought.
type chunk struct {
	records []*kgo.Record
	bytes   int
}

type feedKey struct {
	cluster   string
	topic, id string
	partition int32
	committed bool
}

// consumers are the clients that this process reads with: one for each cluster and isolation level, as a
// rule. A partition that is wanted twice, from different offsets, needs a second one: by two
// pipelines, by the halves of a range that was split, or by a bundle that has failed and runs again. One client has a
// partition once, from one offset: a record that is on its way can't be taken for another's.
var consumers struct {
	consumersMu sync.Mutex
	of          map[consumerKey][]*consumer
	sweep       *time.Timer
	records     recordPool
}

const (
	// feedPatience is how long a feed waits for the next bundle.
	feedPatience = 30 * time.Second
	// waitingFeeds is how many feeds of a partition wait, at different offsets.
	waitingFeeds = 2
)

// takeFeed returns a feed that stands at an offset.
func takeFeed(c *Cluster, key feedKey, offset int64) (*feed, error) {
	f, old := waitingFeed(key, offset)
	if old != nil {
		old.drop()
	}
	if f != nil {
		return f, nil
	}
	f, err := newFeed(c, key, offset)
	if err == nil {
		f.begin()
	}
	return f, err
}

// waitingFeed is the one that waits at an offset, or nil. Old is one that has waited for long at another, if there are too many.
func waitingFeed(key feedKey, offset int64) (f, old *feed) {
	s := &consumers
	s.consumersMu.Lock()
	defer s.consumersMu.Unlock()
	waiting := 0
	for _, con := range s.of[consumerKey{key.cluster, key.committed}] {
		f := con.feed(key)
		if f == nil || f.used {
			continue
		}
		if f.next == offset {
			f.used = true
			return f, nil
		}
		if waiting++; old == nil || f.free.Before(old.free) {
			old = f
		}
	}
	if waiting < waitingFeeds {
		return nil, nil
	}
	old.used = true
	return nil, old
}

// newFeed makes one, of a client that can have it.
func newFeed(c *Cluster, key feedKey, offset int64) (*feed, error) {
	s := &consumers
	s.consumersMu.Lock()
	defer s.consumersMu.Unlock()
	of := consumerKey{key.cluster, key.committed}
	for _, con := range s.of[of] {
		if f := con.add(key, offset); f != nil {
			return f, nil
		}
	}
	con, err := newConsumer(c, of)
	if err != nil {
		return nil, err
	}
	if s.of == nil {
		s.of = make(map[consumerKey][]*consumer)
	}
	s.of[of] = append(s.of[of], con)
	if s.sweep == nil {
		s.sweep = time.AfterFunc(feedPatience/2, func() { sweepFeeds(time.Now()) })
	}
	return con.add(key, offset), nil
}

// sweepFeeds gives up the feeds that nobody has wanted for a while, and takes their partitions out of
// their clients. It goes on by itself while there are clients.
func sweepFeeds(now time.Time) {
	s := &consumers
	s.consumersMu.Lock()
	var old []*feed
	var all []*consumer
	for _, of := range s.of {
		all = append(all, of...)
	}
	for _, con := range all {
		for _, f := range con.all() {
			if !f.used && now.Sub(f.free) > feedPatience {
				f.used = true
				old = append(old, f)
			}
		}
	}
	if s.sweep != nil {
		s.sweep.Reset(feedPatience / 2)
	}
	s.consumersMu.Unlock()
	for _, f := range old {
		f.drop()
	}
	for _, con := range all {
		con.clean()
	}
}

// put gives the feed back; next is the offset that is to be read next.
func (f *feed) put(next int64) {
	i, _ := slices.BinarySearchFunc(f.have, next, func(r *kgo.Record, next int64) int { return int(r.Offset - next) })
	f.have = f.have[i:]
	f.con.feedsMu.Lock()
	f.hungry = false
	f.con.feedsMu.Unlock()
	consumers.consumersMu.Lock()
	defer consumers.consumersMu.Unlock()
	f.next, f.free, f.used = next, time.Now(), false
}

// doubtful says whether to look if the topic is still the one that the feed's offsets are of: when records of it have
// come for the first time, and now and then while there are none.
func (f *feed) doubtful(some bool, now time.Time) bool {
	f.con.feedsMu.Lock()
	defer f.con.feedsMu.Unlock()
	t := f.con.topics[f.key.topic]
	if some {
		return !t.same
	}
	if now.Sub(t.looked) < lookEvery {
		return false
	}
	t.looked = now
	return true
}

// trust says that the topic whose records have come is the right one.
func (f *feed) trust() {
	f.con.feedsMu.Lock()
	defer f.con.feedsMu.Unlock()
	f.con.topics[f.key.topic].same = true
}

// drop gives the feed up. Its client is closed if it has no other.
func (f *feed) drop() {
	s := &consumers
	s.consumersMu.Lock()
	last := f.con.remove(f)
	if i := slices.Index(s.of[f.con.key], f.con); last && i >= 0 {
		if s.of[f.con.key] = slices.Delete(s.of[f.con.key], i, i+1); len(s.of[f.con.key]) == 0 {
			delete(s.of, f.con.key)
		}
		if len(s.of) == 0 && s.sweep != nil {
			s.sweep.Stop()
			s.sweep = nil
		}
	}
	s.consumersMu.Unlock()
	if last {
		f.con.close()
	}
}

// feed is that of a partition, or nil.
func (c *consumer) feed(key feedKey) *feed {
	c.feedsMu.Lock()
	defer c.feedsMu.Unlock()
	if f := c.feeds[partitionKey{key.topic, key.partition}]; f != nil && f.key == key {
		return f
	}
	return nil
}

func (c *consumer) all() []*feed {
	c.feedsMu.Lock()
	defer c.feedsMu.Unlock()
	out := make([]*feed, 0, len(c.feeds))
	for _, f := range c.feeds {
		out = append(out, f)
	}
	return out
}

// errOutOfRange says that the offset is not there any more, or not yet.
var errOutOfRange = errors.New("the offset is out of range")

// errGone says that the brokers don't know the topic, or not by the id that it had.
var errGone = errors.New("the topic is not there any more")

// pollRecords is how many records a poll returns: a turn ends between polls.
const pollRecords = 10_000

// poll returns the records at hand, those that come within the time, or none.
func (f *feed) poll(ctx context.Context, wait time.Duration) ([]*kgo.Record, error) {
	if len(f.have) > 0 {
		return f.have, nil
	}
	var late <-chan time.Time
	for {
		err := f.cut()
		if err != nil {
			return nil, fmt.Errorf("kafkaio: topic %s, partition %d, offset %d: %w", f.key.topic, f.key.partition, f.next, explainFetch(err))
		}
		if len(f.have) > 0 {
			return f.have, nil
		}
		if late == nil {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-f.ready:
		case <-late:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// cut takes up to pollRecords of what has come.
func (f *feed) cut() error {
	f.con.feedsMu.Lock()
	defer f.con.feedsMu.Unlock()
	f.high = f.top
	if len(f.chunks) == 0 {
		if f.err == nil && !f.hungry {
			f.hungry = true
			f.con.nudge()
		}
		return f.err
	}
	c := &f.chunks[0]
	n, bytes := len(c.records), c.bytes
	if n > pollRecords {
		n, bytes = pollRecords, bytes/n*pollRecords
	}
	f.have = c.records[:n:n]
	c.records, c.bytes = c.records[n:], c.bytes-bytes
	if len(c.records) == 0 {
		f.chunks[0] = chunk{}
		f.chunks = f.chunks[1:]
	}
	was := f.bytes
	f.bytes -= bytes
	if was >= feedBytes && f.bytes < feedBytes {
		f.con.resume(f)
		f.con.nudge()
	}
	return nil
}

// tell wakes who reads the feed.
func (f *feed) tell() {
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// explainFetch says what an error means to who reads.
func explainFetch(err error) error {
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange):
		return errOutOfRange
	case missing(err):
		return errGone
	}
	return explainRead(err)
}

// missing says that a broker doesn't know a topic, or not by this id.
func missing(err error) bool {
	return errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition)
}
