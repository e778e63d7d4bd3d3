package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// consumer is a client that reads partitions, each for a feed. Records are handed over as they
// come, in slices, and in order.
//
// A goroutine polls when a feed that is being read has run out; until then, what the client has fetched ahead waits
// in the client. A feed that is full holds the others up for a moment, in the hope that somebody reads it. Then its
// partition is paused. That has a price: the client throws away what it has fetched of a paused partition, and
// fetches it again later.
//
// To take a partition out of a client ends all its fetches, and throws away what they have brought. So a partition that
// nobody reads any more is paused at first, and taken out later, together with others (clean).
type consumer struct {
	key  consumerKey
	cl   *kgo.Client
	wake chan struct{} // tells the goroutine to look again
	done chan struct{} // closed when the goroutine has ended

	feedsMu sync.Mutex
	feeds   map[partitionKey]*feed
	// left are partitions that are paused for ever, and not taken out yet.
	left map[partitionKey]bool
	// topics are those that the client knows.
	topics map[string]*topicState
	// cleaning says that partitions are being taken out, closed that the client is: neither takes new ones. taken are
	// those that have been taken out since what is being polled began.
	cleaning, closed bool
	taken            *takenOut
	// interrupt ends a poll.
	interrupt context.CancelFunc
}

// consumerKey is what partitions have in common that a client can read together.
type consumerKey struct {
	cluster   string
	committed bool
}

type partitionKey struct {
	topic     string
	partition int32
}

// topicState is what is known of a topic. A client holds on to the id of a topic that it has found first.
type topicState struct {
	id string // the topic that is wanted
	// same says that the client has found that one; looked is when somebody has looked last whether it is still there.
	same   bool
	looked time.Time
}

// takenOut is what a client doesn't consume any more: topics that it has forgotten, and partitions.
type takenOut struct {
	topics     []string
	partitions []partitionKey
}

const (
	// feedBytes is how much a full feed has: keys, values, and recordBytes for what a record weighs
	// itself. It has room for some fetches of fetchBytes: when the partition that is read first has run out, the others
	// should not be full yet.
	feedBytes   = 4 << 20
	recordBytes = 200
	fetchBytes  = 1 << 20
	// fullPatience is how long a full feed may keep the others waiting.
	fullPatience = 50 * time.Millisecond
)

func newConsumer(c *Cluster, key consumerKey) (*consumer, error) {
	opts, err := c.options()
	if err != nil {
		return nil, err
	}
	opts = append(opts,
		// Whether to go on elsewhere is the user's choice, not the client's.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// The end of a transaction takes an offset: the last one before the end, perhaps.
		kgo.KeepControlRecords(),
		kgo.WithPools(&consumers.records),
		// The client would ask a partition again and again that answers with an error at once, as long as others have
		// none: see rest.
		kgo.KeepRetryableFetchErrors(),
		kgo.FetchMaxWait(200*time.Millisecond),
		kgo.FetchMaxBytes(16<<20),
		kgo.FetchMaxPartitionBytes(fetchBytes),
	)
	if key.committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("kafkaio: %w", err)
	}
	con := &consumer{
		key: key, cl: cl, wake: make(chan struct{}, 1), done: make(chan struct{}),
		feeds: make(map[partitionKey]*feed), left: make(map[partitionKey]bool), topics: make(map[string]*topicState),
		interrupt: func() {},
	}
	go con.run()
	return con, nil
}

// add makes a feed of a partition, from an offset on. It returns nil if the client can't have it: somebody else reads the
// partition here, it has not been taken out yet, or the topic has another id here. Who gets a feed calls begin, without a lock:
// that may wait for the client.
func (c *consumer) add(key feedKey, offset int64) *feed {
	at := partitionKey{key.topic, key.partition}
	c.feedsMu.Lock()
	defer c.feedsMu.Unlock()
	t := c.topics[key.topic]
	if c.cleaning || c.closed || c.feeds[at] != nil || c.left[at] || t != nil && t.id != key.id {
		return nil
	}
	if t == nil {
		c.topics[key.topic] = &topicState{id: key.id, looked: time.Now()}
	}
	f := &feed{key: key, con: c, next: offset, used: true, asked: offset, ready: make(chan struct{}, 1)}
	c.feeds[at] = f
	return f
}

func (f *feed) begin() {
	f.con.cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{f.key.topic: {f.key.partition: kgo.NewOffset().At(f.next)}})
}

// remove takes a feed away, and says whether none is left.
func (c *consumer) remove(f *feed) (last bool) {
	c.feedsMu.Lock()
	defer c.feedsMu.Unlock()
	at := partitionKey{f.key.topic, f.key.partition}
	if c.feeds[at] == f {
		delete(c.feeds, at)
		c.left[at] = true
		c.pause(f)
	}
	c.closed = c.closed || len(c.feeds) == 0
	return c.closed
}

// close ends the client and its goroutine. It may take a while.
func (c *consumer) close() {
	c.feedsMu.Lock()
	c.closed = true
	c.feedsMu.Unlock()
	c.nudge()
	c.cl.Close()
	<-c.done
}

// clean takes out what has left. It may take a while. What had been polled before may still be on its way to feeds: so
// the goroutine has the last word, in look.
func (c *consumer) clean() {
	c.feedsMu.Lock()
	if c.cleaning || c.closed || len(c.left) == 0 {
		c.feedsMu.Unlock()
		return
	}
	c.cleaning = true
	used := make(map[string]bool)
	for at := range c.feeds {
		used[at.topic] = true
	}
	taken := new(takenOut)
	all, of := make(map[string][]int32), make(map[string][]int32)
	for at := range c.left {
		taken.partitions = append(taken.partitions, at)
		all[at.topic] = append(all[at.topic], at.partition)
		if used[at.topic] {
			of[at.topic] = all[at.topic]
		}
	}
	for topic := range all {
		if !used[topic] {
			taken.topics = append(taken.topics, topic)
		}
	}
	c.feedsMu.Unlock()

	// The client would ask after topics that it knows for ever, and hold on to their ids.
	c.cl.PurgeTopicsFromConsuming(taken.topics...)
	c.cl.RemoveConsumePartitions(of)
	c.cl.ResumeFetchPartitions(all) // for those who add them again

	c.feedsMu.Lock()
	c.taken = taken
	c.interrupt()
	c.feedsMu.Unlock()
	c.nudge()
}

// nudge has the goroutine look again whether to poll.
func (c *consumer) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *consumer) run() {
	defer close(c.done)
	for c.wanted() {
		ctx, cancel := context.WithCancel(context.Background())
		c.feedsMu.Lock()
		c.interrupt = cancel
		if c.taken != nil {
			cancel()
		}
		c.feedsMu.Unlock()
		c.deliver(c.cl.PollFetches(ctx))
		cancel()
	}
}

// wanted waits until a feed has nothing left, and returns false when the client is closed.
func (c *consumer) wanted() bool {
	var patience <-chan time.Time
	for lapsed := false; ; {
		closed, poll, full := c.look(lapsed)
		switch {
		case closed:
			return false
		case poll:
			return true
		case full && patience == nil:
			patience = time.After(fullPatience)
		}
		select {
		case <-c.wake:
		case <-patience:
			lapsed = true
		}
	}
}

// look says whether to poll: if a feed has nothing left, and none is full. With pause those that are full are
// paused. Nothing is on its way to a feed now.
func (c *consumer) look(pause bool) (closed, poll, full bool) {
	c.feedsMu.Lock()
	defer c.feedsMu.Unlock()
	if c.taken != nil {
		for _, at := range c.taken.partitions {
			delete(c.left, at)
		}
		for _, topic := range c.taken.topics {
			delete(c.topics, topic)
		}
		c.taken, c.cleaning = nil, false
	}
	for _, f := range c.feeds {
		poll = poll || f.hungry
		full = full || f.bytes >= feedBytes && !f.paused
	}
	if !poll || !full {
		return c.closed, poll, false
	}
	if !pause {
		return c.closed, false, true
	}
	for _, f := range c.feeds {
		if f.bytes >= feedBytes {
			c.pause(f)
		}
	}
	return c.closed, true, false
}

// pause and resume are called with the lock.
func (c *consumer) pause(f *feed) {
	if !f.paused {
		f.paused = true
		c.cl.PauseFetchPartitions(map[string][]int32{f.key.topic: {f.key.partition}})
	}
}

func (c *consumer) resume(f *feed) {
	if f.paused && f.err == nil && !f.resting && f.bytes < feedBytes {
		f.paused = false
		c.cl.ResumeFetchPartitions(map[string][]int32{f.key.topic: {f.key.partition}})
	}
}

// deliver gives feeds what has come for them.
func (c *consumer) deliver(fetches kgo.Fetches) {
	c.feedsMu.Lock()
	defer c.feedsMu.Unlock()
	for _, fetch := range fetches {
		for i := range fetch.Topics {
			t := &fetch.Topics[i]
			for j := range t.Partitions {
				p := &t.Partitions[j]
				if f := c.feeds[partitionKey{t.Topic, p.Partition}]; f != nil {
					c.give(f, p)
					continue
				}
				// An error of a topic, or of the client itself, has no partition.
				for at, f := range c.feeds {
					if p.Partition < 0 && (t.Topic == "" || t.Topic == at.topic) {
						c.give(f, p)
					}
				}
			}
		}
	}
}

// give gives a feed what has come for its partition. It is called with the lock.
func (c *consumer) give(f *feed, p *kgo.FetchPartition) {
	if f.err != nil {
		return
	}
	f.top = max(f.top, p.HighWatermark)
	if n := len(p.Records); n > 0 {
		// A client that knew nothing of the topic when the partition was added doesn't fetch from the offset that it
		// was told, but asks for the first and the last one, and keeps between them.
		if f.asked >= 0 && (p.LogStartOffset > f.asked || p.Records[0].Offset < f.asked) {
			c.fail(f, kerr.OffsetOutOfRange)
			return
		}
		f.asked = -1
		bytes := recordBytes * n
		for _, r := range p.Records {
			bytes += len(r.Key) + len(r.Value)
		}
		f.chunks = append(f.chunks, chunk{p.Records, bytes})
		f.bytes += bytes
		f.hungry = false
		f.tell()
	}
	switch {
	case p.Err == nil:
		f.fails = 0
	case errors.Is(p.Err, context.DeadlineExceeded), errors.Is(p.Err, context.Canceled):
	case kerr.IsRetriable(p.Err) && f.fails < missingFails:
		c.rest(f)
	case kerr.IsRetriable(p.Err) && !missing(p.Err):
		c.rest(f)
	default:
		c.fail(f, p.Err)
	}
}

// missingFails is how often a broker says that it doesn't know a topic until that is taken for an error: it may be new.
const missingFails = 5

// rest pauses a partition that can't be read at the moment, for longer each time.
func (c *consumer) rest(f *feed) {
	if f.resting {
		return
	}
	f.resting = true
	c.pause(f)
	time.AfterFunc(50*time.Millisecond<<min(f.fails, 5), func() {
		c.feedsMu.Lock()
		defer c.feedsMu.Unlock()
		f.resting = false
		if c.feeds[partitionKey{f.key.topic, f.key.partition}] == f {
			c.resume(f)
		}
	})
	f.fails++
}

// fail tells a feed of an error, behind what it has. The client would fetch on.
func (c *consumer) fail(f *feed, err error) {
	f.err, f.hungry = err, false
	c.pause(f)
	f.tell()
}
