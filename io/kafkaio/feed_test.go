package kafkaio

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// countedTopics is a broker whose partitions each have n records; a record's value is its offset.
func countedTopics(t *testing.T, brokers, n, size int, partitions int32, topics ...string) (*kfake.Cluster, *kgo.Client) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(brokers), kfake.SeedTopics(partitions, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	for _, topic := range topics {
		for p := range partitions {
			number(t, cl, topic, p, 0, n, size)
		}
	}
	return c, cl
}

// number writes records from one offset up to another, five in a batch.
func number(t *testing.T, cl *kgo.Client, topic string, partition int32, from, to, size int) {
	t.Helper()
	for from < to {
		var records []*kgo.Record
		for range min(5, to-from) {
			records = append(records, &kgo.Record{Topic: topic, Partition: partition, Key: make([]byte, size), Value: says(int64(from))})
			from++
		}
		if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func feedAt(t *testing.T, c *kfake.Cluster, topic string, partition int32, from int64) *feed {
	t.Helper()
	conf := Cluster{Brokers: c.ListenAddrs()}
	f, err := takeFeed(&conf, feedKey{cluster: conf.id(), topic: topic, partition: partition}, from)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// expect reads the numbered records from one offset up to another.
func (f *feed) expect(t *testing.T, from, to int64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); from < to; {
		if from = f.some(t, from); t.Failed() || time.Now().After(deadline) {
			t.Fatalf("%s/%d: offset %d has not come", f.key.topic, f.key.partition, from)
		}
	}
}

// some reads what there is of the numbered records, and returns the offset to read next.
func (f *feed) some(t *testing.T, from int64) int64 {
	t.Helper()
	records, err := f.poll(t.Context(), 50*time.Millisecond)
	if err != nil {
		t.Error(err)
	}
	for _, r := range records {
		if r.Offset < from {
			continue // the front of a batch
		}
		if r.Topic != f.key.topic || r.Partition != f.key.partition || r.Offset != from || string(r.Value) != string(says(from)) {
			t.Errorf("got %s/%d at %d, want %s/%d at %d", r.Topic, r.Partition, r.Offset, f.key.topic, f.key.partition, from)
		}
		from++
	}
	f.have = nil
	return from
}

// readingClients is how many read from a cluster.
func readingClients(c *kfake.Cluster) int {
	consumers.consumersMu.Lock()
	defer consumers.consumersMu.Unlock()
	conf := Cluster{Brokers: c.ListenAddrs()}
	return len(consumers.of[consumerKey{cluster: conf.id()}])
}

// later is when nobody waits for a feed any more.
func later() time.Time { return time.Now().Add(2 * feedPatience) }

// TestOneClient: a process reads all partitions with one client, and with none when it has read none for a while.
func TestOneClient(t *testing.T) {
	sweepFeeds(later()) // what other tests have left
	broker, _ := countedTopics(t, 3, 10, 0, 8, "in", "other")
	var feeds []*feed
	for p := range int32(8) {
		feeds = append(feeds, feedAt(t, broker, "in", p, 0), feedAt(t, broker, "other", p, 5))
	}
	for _, f := range feeds {
		from := f.next
		f.expect(t, from, 10)
		f.put(10)
	}
	if n := readingClients(broker); n != 1 {
		t.Errorf("there are %d clients, want one", n)
	}
	if f := feedAt(t, broker, "in", 3, 10); f != feeds[6] {
		t.Error("a feed that waits where somebody wants to go on isn't taken")
	} else {
		f.drop()
	}
	sweepFeeds(time.Now())
	if n := readingClients(broker); n != 1 {
		t.Errorf("there are %d clients at once, want one: somebody may come", n)
	}
	sweepFeeds(later())
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if n := readingClients(broker); n != 0 || strings.Contains(string(stacks), "(*consumer).run") {
		t.Errorf("there are %d clients later, want none, and no goroutine:\n%s", n, stacks)
	}
}

// TestPartitionWantedTwice: who wants a partition that is being read, from another offset, gets it from there.
func TestPartitionWantedTwice(t *testing.T) {
	broker, _ := countedTopics(t, 1, 100, 0, 1, "in")
	first, second := feedAt(t, broker, "in", 0, 0), feedAt(t, broker, "in", 0, 47)
	defer first.drop()
	defer second.drop()
	if first.con == second.con {
		t.Error("one client has the partition twice")
	}
	second.expect(t, 47, 100)
	first.expect(t, 0, 100)
}

// TestDoubt: whether a topic is the same is asked once for all of a client's partitions of it: when records come, and
// every lookEvery while there are none.
func TestDoubt(t *testing.T) {
	broker, _ := countedTopics(t, 1, 1, 0, 2, "in", "other")
	first, second, other := feedAt(t, broker, "in", 0, 0), feedAt(t, broker, "in", 1, 0), feedAt(t, broker, "other", 0, 0)
	defer first.drop()
	defer second.drop()
	defer other.drop()
	now := time.Now().Add(lookEvery)
	got := []bool{first.doubtful(false, now), second.doubtful(false, now), second.doubtful(true, now)}
	second.trust()
	got = append(got, first.doubtful(true, now), other.doubtful(true, now), first.doubtful(false, now.Add(lookEvery)))
	if want := []bool{true, false, true, false, true, true}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSlowPartition: a partition that nobody reads for a while doesn't hold up the others, nor does it grow; what it has is
// read later, each record once.
func TestSlowPartition(t *testing.T) {
	const each, size = 40, 900_000
	broker, cl := countedTopics(t, 1, each, size, 1, "in", "other")
	slow, fast := feedAt(t, broker, "in", 0, 0), feedAt(t, broker, "other", 0, 0)
	defer slow.drop()
	defer fast.drop()
	if slow.con != fast.con {
		t.Fatal("two clients")
	}
	next := slow.some(t, 0)
	for i := range 4 {
		fast.expect(t, int64(i*each), int64((i+1)*each))
		number(t, cl, "other", 0, (i+1)*each, (i+2)*each, size)
	}
	slow.con.feedsMu.Lock()
	bytes := slow.bytes
	slow.con.feedsMu.Unlock()
	if limit := feedBytes + 16<<20; bytes > limit {
		t.Errorf("the slow partition has %d bytes, want no more than %d", bytes, limit)
	}
	slow.expect(t, next, each)
}

// TestErrorOfOnePartition: who reads a partition hears of its error, and nobody else does. It is read anew by another
// client, since this one would begin where it is; later by this one.
func TestErrorOfOnePartition(t *testing.T) {
	sweepFeeds(later()) // the next one is a while off: it would let the client take the partition back
	broker, cl := countedTopics(t, 1, 10, 0, 2, "in")
	if err := broker.DeleteRecords("in", 1, 4); err != nil {
		t.Fatal(err)
	}
	good, low := feedAt(t, broker, "in", 0, 0), feedAt(t, broker, "in", 1, 2)
	defer good.drop()
	good.expect(t, 0, 10)
	if _, err := low.poll(t.Context(), time.Minute); !errors.Is(err, errOutOfRange) || !strings.Contains(err.Error(), "topic in, partition 1, offset 2") {
		t.Errorf("got %v, want to hear which offset is gone", err)
	}
	low.drop()
	number(t, cl, "in", 0, 10, 20, 0)
	good.expect(t, 10, 20)
	again := feedAt(t, broker, "in", 1, 4)
	again.expect(t, 4, 10)
	if again.con == good.con {
		t.Error("the client that was told of another offset reads on")
	}
	again.drop()
	if again = good.con.comeBack(t, broker, "in", 1, 5); again != nil {
		again.expect(t, 5, 10)
		again.drop()
	}
	number(t, cl, "in", 0, 20, 30, 0)
	good.expect(t, 20, 30)
}

// comeBack is a feed of a client that has had its partition before, at another offset.
func (c *consumer) comeBack(t *testing.T, broker *kfake.Cluster, topic string, partition int32, from int64) *feed {
	t.Helper()
	sweepFeeds(time.Now())
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); { // its goroutine has the last word
		f := feedAt(t, broker, topic, partition, from)
		if f.con == c {
			return f
		}
		f.drop()
	}
	t.Error("the client doesn't take the partition back")
	return nil
}

// TestTopicForgotten: when nobody reads a topic any more its client forgets it, and its id: it can read another of
// its name.
func TestTopicForgotten(t *testing.T) {
	broker, cl := countedTopics(t, 1, 10, 0, 1, "in", "other")
	good, gone := feedAt(t, broker, "in", 0, 0), feedAt(t, broker, "other", 0, 0)
	defer good.drop()
	good.expect(t, 0, 10)
	gone.expect(t, 0, 10)
	gone.drop()
	if err := errors.Join(broker.DeleteTopic("other"), broker.CreateTopic("other", 1, nil)); err != nil {
		t.Fatal(err)
	}
	writer, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	number(t, writer, "other", 0, 0, 5, 0)
	if again := good.con.comeBack(t, broker, "other", 0, 1); again != nil {
		again.expect(t, 1, 5)
		again.drop()
	}
	number(t, cl, "in", 0, 10, 20, 0)
	good.expect(t, 10, 20)
}

// TestFailingPartition: one that answers with an error each time doesn't keep its client and the broker busy, nor
// others waiting. It is read when it is well again.
func TestFailingPartition(t *testing.T) {
	broker, cl := countedTopics(t, 1, 10, 0, 1, "in", "other")
	good, bad := feedAt(t, broker, "in", 0, 0), feedAt(t, broker, "other", 0, 0)
	defer good.drop()
	defer bad.drop()
	bad.expect(t, 0, 10)
	fault := broker.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "other", Err: kerr.KafkaStorageError, Count: -1})
	const rounds = 20
	for i := range rounds {
		number(t, cl, "in", 0, 10+i, 11+i, 0)
		if bad.some(t, 10) != 10 {
			t.Error("something has come of the partition that fails")
		}
	}
	good.expect(t, 0, 10+rounds)
	if n := fault.Hits(); n == 0 || n > 2*rounds {
		t.Errorf("the partition that fails was asked %d times in %d rounds, want it to rest", n, rounds)
	}
	fault.Remove()
	number(t, cl, "other", 0, 10, 15, 0)
	bad.expect(t, 10, 15)
}

// TestFeedsAtRandom: readers come and go at any offset while leaders move and feeds are given up: each gets all that
// is behind its offset, in order.
func TestFeedsAtRandom(t *testing.T) {
	const each, parts, readers, turns = 200, 3, 6, 60
	topics := []string{"in", "other"}
	broker, _ := countedTopics(t, 3, each, 10, parts, topics...)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	ctx, stop := context.WithCancel(t.Context())
	var wg, others sync.WaitGroup
	others.Go(func() {
		rnd := rand.New(rand.NewPCG(seed, 99))
		for ctx.Err() == nil {
			sweepFeeds(time.Now().Add(time.Duration(rnd.Int64N(int64(2 * feedPatience)))))
			if err := broker.MoveTopicPartition(topics[rnd.IntN(2)], rnd.Int32N(parts), rnd.Int32N(3)); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
		}
	})
	for i := range uint64(readers) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, i))
			topic, partition, next := topics[0], int32(0), int64(0)
			for range turns {
				if rnd.IntN(3) == 0 {
					topic, partition, next = topics[rnd.IntN(2)], rnd.Int32N(parts), rnd.Int64N(each)
				}
				f := feedAt(t, broker, topic, partition, next)
				for range rnd.IntN(4) {
					next = f.some(t, next)
				}
				if rnd.IntN(5) == 0 {
					f.drop()
				} else {
					f.put(next)
				}
				if t.Failed() {
					return
				}
			}
			f := feedAt(t, broker, topic, partition, next)
			f.expect(t, next, each)
			f.drop()
		})
	}
	wg.Wait()
	stop()
	others.Wait()
	sweepFeeds(later())
	if n := readingClients(broker); n != 0 {
		t.Errorf("%d clients are left", n)
	}
}

// notYet makes a broker say, when it is asked for the first time, that the leader of topic "in" isn't known yet.
func notYet(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.ErrorCode = kmsg.StringPtr("in"), kerr.LeaderNotAvailable.Code
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
}

// TestOffsetIsNotMoved: a client that doesn't know a topic yet asks for its offsets, and would begin at the first or the
// last one if ours is out of their range.
func TestOffsetIsNotMoved(t *testing.T) {
	for name, from := range map[string]int64{"before the first": 1, "behind the last": 7} {
		t.Run(name, func(t *testing.T) {
			var records []*kgo.Record
			for i := range int64(6) {
				records = append(records, &kgo.Record{Timestamp: time.UnixMilli(1000 * i)})
			}
			broker := fakeTopic(t, nil, records...)
			if err := broker.DeleteRecords("in", 0, 4); err != nil {
				t.Fatal(err)
			}
			notYet(broker)
			var asked atomic.Int32
			broker.ControlKey(int16(kmsg.ListOffsets), func(kmsg.Request) (kmsg.Response, error, bool) {
				broker.KeepControl()
				asked.Add(1)
				return nil, nil, false
			})
			for deadline := time.Now().Add(time.Minute); ; {
				times, err := readTurn(t, &watermark{}, from, broker.ListenAddrs())
				if errors.Is(err, errOutOfRange) {
					return
				}
				if err != nil || len(times) > 0 || time.Now().After(deadline) {
					t.Fatalf("got %v (%v), want to hear that the offset is out of range", times, err)
				}
				if asked.Load() >= 4 { // its first two questions are in vain
					fill(t, broker, &kgo.Record{}) // the client says nothing without a record
				}
			}
		})
	}
}
