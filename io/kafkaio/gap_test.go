package kafkaio

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// emptied makes a broker answer as if compaction had taken all records of topic "in" up to an offset, where the
// partition ends. A broker that is throttled says so.
func emptied(c *kfake.Cluster, end int64, throttle time.Duration) {
	c.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		resp.ThrottleMillis = int32(throttle.Milliseconds())
		for _, t := range req.(*kmsg.FetchRequest).Topics {
			out := kmsg.FetchResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
			for _, p := range t.Partitions {
				part := kmsg.NewFetchResponseTopicPartition()
				part.Partition, part.HighWatermark, part.LastStableOffset = p.Partition, end, end
				out.Partitions = append(out.Partitions, part)
			}
			resp.Topics = append(resp.Topics, out)
		}
		return resp, nil, true
	})
}

// TestGapAtTheEnd: a bounded read of a partition that compaction has emptied to its end comes to that end.
func TestGapAtTheEnd(t *testing.T) {
	broker := fakeTopic(t, nil)
	emptied(broker, 10, 0)
	f := &readBounded{reader{Conf: readConfig{Cluster: Cluster{Brokers: broker.ListenAddrs()}, Topics: []string{"in"}}}}
	rt := newOffsets(offsetrange.Restriction{Start: 4, End: 10}, 0)
	done := make(chan error, 1)
	go func() {
		done <- f.ProcessElement(t.Context(), rt, Partition{Topic: "in", Start: 4, Stop: 10}, func(beam.EventTime, Record) {})
	}()
	select {
	case err := <-done:
		if err != nil || !rt.IsDone() {
			t.Errorf("got %v, done: %v", err, rt.IsDone())
		}
	case <-time.After(time.Minute):
		t.Fatal("it still waits for records after a minute")
	}
}

// TestThrottled: an answer that a broker keeps back says nothing about what is there.
func TestThrottled(t *testing.T) {
	broker := fakeTopic(t, nil)
	emptied(broker, 10, time.Millisecond)
	at, err := beyondGap(t.Context(), &Cluster{Brokers: broker.ListenAddrs()}, "in", 0, 4, false)
	if at != 4 || err != nil {
		t.Errorf("the next record is at %d or later (%v), want 4: nobody knows", at, err)
	}
}

// TestBeyondGap: from an offset that is gone, to the next record.
func TestBeyondGap(t *testing.T) {
	broker := fakeTopic(t, map[string]string{"cleanup.policy": "compact"}, &kgo.Record{Key: []byte("first"), Value: []byte("1")})
	for range 4 { // each a batch of its own
		fill(t, broker, &kgo.Record{Key: []byte("k"), Value: []byte("2")})
	}
	broker.Compact()
	for from, want := range map[int64]int64{0: 0, 1: 3, 3: 3, 4: 4, 5: 5} {
		at, err := beyondGap(t.Context(), &Cluster{Brokers: broker.ListenAddrs()}, "in", 0, from, false)
		if at != want || err != nil {
			t.Errorf("from %d: the next record is at %d or later (%v), want %d", from, at, err, want)
		}
	}
}

// TestOpenTransaction: the watermark doesn't go on with the clock past a transaction that may still bring records.
func TestOpenTransaction(t *testing.T) {
	broker := fakeTopic(t, nil, &kgo.Record{Timestamp: time.UnixMilli(5000)})
	tx, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.TransactionalID("test"), kgo.DefaultProduceTopic("in"))
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	if err := errors.Join(tx.BeginTransaction(), tx.ProduceSync(t.Context(), &kgo.Record{Timestamp: time.UnixMilli(6000)}).FirstErr()); err != nil {
		t.Fatal(err)
	}
	w := &watermark{millis: int64(mtime.MinTimestamp)}
	turn := func(from int64) {
		t.Helper()
		if _, err := readTurn(t, w, from, broker.ListenAddrs(), ReadCommitted(), IdleAfter(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if turn(1); w.now() != int64(mtime.MinTimestamp) {
			t.Fatalf("the watermark is at %d, though a transaction is open", w.now())
		}
	}
	if err := tx.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); w.now() < 6000; turn(3) {
		if time.Now().After(deadline) {
			t.Fatalf("the watermark is at %d, though the transaction is over and nothing comes", w.now())
		}
	}
}

// TestRetention: what was read up to an offset that retention has taken since goes on where the user wants to.
func TestRetention(t *testing.T) {
	var records []*kgo.Record
	for i := range int64(6) {
		records = append(records, &kgo.Record{Timestamp: time.UnixMilli(1000 * i)})
	}
	broker := fakeTopic(t, nil, records...)
	if err := broker.DeleteRecords("in", 0, 4); err != nil {
		t.Fatal(err)
	}
	if _, err := readTurn(t, &watermark{}, 1, broker.ListenAddrs()); err == nil || !strings.Contains(err.Error(), "topic in, partition 0, offset 1: the offset is out of range") {
		t.Errorf("got %v, want to hear which offset is gone", err)
	}
	for name, c := range map[string]struct {
		to   Position
		want int64
	}{"earliest": {Earliest(), 4}, "latest": {Latest(), 6}} {
		rt := newOffsets(offsetrange.Restriction{Start: 1, End: math.MaxInt64}, 0)
		conf := readConfig{Cluster: Cluster{Brokers: broker.ListenAddrs()}, Topics: []string{"in"}}
		IfOutOfRange(c.to)(&conf)
		f := &reader{Conf: conf}
		turn, err := f.read(t.Context(), rt, Partition{Topic: "in", Start: 1, Stop: math.MaxInt64}, 1, func(int64, Record) {})
		if err != nil || turn.next != c.want || rt.next != c.want {
			t.Errorf("%s: goes on at %d (%v), want %d", name, turn.next, err, c.want)
		}
	}
}
