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

// feed is a consumer of one partition. A bundle has it to itself. Between bundles it waits
// with what it has fetched, for the next one most likely goes on where the last has
// stopped; it is closed if nobody comes for a while.
//
// Each partition has a client of its own: where one client has several, a record that is
// on its way when a partition is taken up anew at another offset can't be told from
// one that was asked for since.
type feed struct {
	key  feedKey
	cl   *kgo.Client
	next int64 // the offset that the next record has, or a later one
	have []*kgo.Record
	high int64 // the first offset that the partition doesn't have yet
	// same says that the topic is the one that the offsets are of. The client holds on to the id that it
	// has found first, so that it is enough to look once, after that; looked is when somebody has looked last.
	same   bool
	looked time.Time
	free   time.Time // since when nobody uses it
}

type feedKey struct {
	cluster   string
	topic, id string
	partition int32
	committed bool
}

// feeds are those that nobody uses at the moment.
var feeds struct {
	feedsMu sync.Mutex
	idle    map[feedKey]*feed
}

// feedPatience is how long a feed waits for the next bundle.
const feedPatience = 30 * time.Second

// takeFeed returns a feed that stands at an offset.
func takeFeed(c *Cluster, key feedKey, offset int64) (*feed, error) {
	var old []*feed
	feeds.feedsMu.Lock()
	f := feeds.idle[key]
	delete(feeds.idle, key)
	for k, other := range feeds.idle {
		if time.Since(other.free) > feedPatience {
			delete(feeds.idle, k)
			old = append(old, other)
		}
	}
	feeds.feedsMu.Unlock()
	for _, other := range old {
		other.cl.Close()
	}
	if f != nil {
		if f.next == offset {
			return f, nil
		}
		f.cl.Close()
	}
	opts, err := c.options()
	if err != nil {
		return nil, err
	}
	opts = append(opts,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{key.topic: {key.partition: kgo.NewOffset().At(offset)}}),
		// Whether to go on elsewhere is the user's choice, not the client's.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// The end of a transaction takes an offset: the last one before the end, perhaps.
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(200*time.Millisecond),
		kgo.FetchMaxPartitionBytes(2<<20),
	)
	if key.committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("kafkaio: %w", err)
	}
	return &feed{key: key, cl: cl, next: offset}, nil
}

// put gives the feed back; next is the offset that is to be read next.
func (f *feed) put(next int64) {
	for len(f.have) > 0 && f.have[0].Offset < next {
		f.have = f.have[1:]
	}
	f.next, f.free = next, time.Now()
	feeds.feedsMu.Lock()
	if feeds.idle == nil {
		feeds.idle = make(map[feedKey]*feed)
	}
	other := feeds.idle[f.key]
	feeds.idle[f.key] = f
	feeds.feedsMu.Unlock()
	if other != nil {
		other.cl.Close()
	}
}

// errOutOfRange says that the offset is not there any more, or not yet.
var errOutOfRange = errors.New("the offset is out of range")

// errGone says that the brokers don't know the topic, or not by the id that it had.
var errGone = errors.New("the topic is not there any more")

// poll returns the records at hand, those that come within the time, or none.
func (f *feed) poll(ctx context.Context, wait time.Duration) ([]*kgo.Record, error) {
	if len(f.have) > 0 {
		return f.have, nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	fetches := f.cl.PollRecords(ctx, 10_000)
	if err := ctx.Err(); err != nil && fetches.NumRecords() == 0 && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	var failed error
	fetches.EachError(func(_ string, _ int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			failed = err
		}
	})
	switch {
	case errors.Is(failed, kerr.OffsetOutOfRange):
		failed = errOutOfRange
	case errors.Is(failed, kerr.UnknownTopicID), errors.Is(failed, kerr.UnknownTopicOrPartition):
		failed = errGone
	case failed != nil:
		failed = explainRead(failed)
	}
	if failed != nil {
		return nil, fmt.Errorf("kafkaio: topic %s, partition %d, offset %d: %w", f.key.topic, f.key.partition, f.next, failed)
	}
	fetches.EachPartition(func(p kgo.FetchTopicPartition) { f.high = max(f.high, p.HighWatermark) })
	f.have = fetches.Records()
	return f.have, nil
}
