package kafkaio

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func init() { register.Function1x1(valueTime) }

// valueTime is the time that a record's value says, in ms; a value of another length says none.
func valueTime(r Record) time.Time {
	if len(r.Value) != 8 {
		return time.Time{}
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(r.Value)))
}

func says(ms int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(ms)) }

// readTurn takes one turn at partition 0 of topic "in", from its start. It returns the times of its
// elements, and the watermark.
func readTurn(t *testing.T, w *watermark, from int64, addrs []string, opts ...ReadOption) (times []int64, err error) {
	t.Helper()
	conf := readConfig{Cluster: Cluster{Brokers: addrs}, Topics: []string{"in"}, Clock: recordTime}
	for _, o := range opts {
		o(&conf)
	}
	if err := conf.check(); err != nil {
		t.Fatal(err)
	}
	f := &readUnbounded{reader{Conf: conf}}
	if err := f.Setup(); err != nil {
		t.Fatal(err)
	}
	p := Partition{Topic: "in", Start: from, Stop: math.MaxInt64}
	rt := newOffsets(offsetrange.Restriction{Start: from, End: math.MaxInt64}, 0)
	_, err = f.ProcessElement(t.Context(), w, rt, p, func(ts beam.EventTime, _ Record) { times = append(times, int64(ts)) }, func(string, int64) {})
	return times, err
}

// fakeTopic is a broker that has topic "in" with a partition and these records.
func fakeTopic(t *testing.T, configs map[string]string, records ...*kgo.Record) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.CreateTopic("in", 1, configs); err != nil {
		t.Fatal(err)
	}
	fill(t, c, records...)
	return c
}

// fill writes records to topic "in", in one batch.
func fill(t *testing.T, c *kfake.Cluster, records ...*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("in"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// stampAppended makes a broker put a time on the batch that is written next, as with message.timestamp.type=LogAppendTime: the
// fake one would leave the batch with a wrong checksum.
func stampAppended(c *kfake.Cluster, millis int64) {
	const crcAt, attrsAt, lastAt, maxAt = 17, 21, 23, 35
	var batch []byte
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		batch = bytes.Clone(req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records)
		batch[attrsAt+1] |= 1 << 3
		binary.BigEndian.PutUint64(batch[maxAt:], uint64(millis))
		binary.BigEndian.PutUint32(batch[crcAt:], crc32.Checksum(batch[attrsAt:], crc32.MakeTable(crc32.Castagnoli)))
		return nil, nil, false
	})
	c.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked := req.(*kmsg.FetchRequest).Topics
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		if len(asked) == 0 {
			return resp, nil, true
		}
		part := kmsg.NewFetchResponseTopicPartition()
		part.HighWatermark = int64(binary.BigEndian.Uint32(batch[lastAt:])) + 1
		if asked[0].Partitions[0].FetchOffset == 0 {
			part.RecordBatches = batch
		}
		resp.Topics = []kmsg.FetchResponseTopic{{Topic: asked[0].Topic, TopicID: asked[0].TopicID, Partitions: []kmsg.FetchResponseTopicPartition{part}}}
		return resp, nil, true
	})
}

// TestClocks: where times come from, and how far the watermark follows.
func TestClocks(t *testing.T) {
	records := func() []*kgo.Record {
		return []*kgo.Record{
			{Timestamp: time.UnixMilli(5000), Value: says(500)},
			{Timestamp: time.UnixMilli(3000), Value: says(700)},
			{Timestamp: time.UnixMilli(600), Value: []byte("none")},
			{Timestamp: time.UnixMilli(3000), Value: says(math.MinInt64)},
		}
	}
	now := time.Now().UnixMilli()
	for name, c := range map[string]struct {
		opt    ReadOption
		append bool
		times  []int64 // nil: the clock's
		mark   int64
	}{
		"record":     {opt: RecordTime(0), times: []int64{5000, 3000, 600, 3000}, mark: 5000},
		"disorder":   {opt: RecordTime(2 * time.Second), times: []int64{5000, 3000, 600, 3000}, mark: 3000},
		"extractor":  {opt: TimestampBy(valueTime, 100*time.Millisecond), times: []int64{500, 700, 600, int64(mtime.MinTimestamp)}, mark: 600},
		"append":     {opt: LogAppendTime(), append: true, mark: now},
		"processing": {opt: ProcessingTime(), mark: now},
	} {
		t.Run(name, func(t *testing.T) {
			broker := fakeTopic(t, nil)
			if c.append {
				stampAppended(broker, now)
			}
			fill(t, broker, records()...)
			w := &watermark{millis: int64(mtime.MinTimestamp)}
			times, err := readTurn(t, w, 0, broker.ListenAddrs(), c.opt)
			if err != nil {
				t.Fatal(err)
			}
			if len(times) != 4 {
				t.Fatalf("%d elements, want 4", len(times))
			}
			for i, ts := range times {
				if c.times != nil && ts != c.times[i] || c.times == nil && ts < now {
					t.Errorf("element %d has the time %d, want %v (or not before %d)", i, ts, c.times, now)
				}
			}
			if got := w.now(); c.times != nil && got != c.mark || got < c.mark {
				t.Errorf("the watermark is at %d, want %d", got, c.mark)
			}
		})
	}
}

// TestProducersTimes: what a producer has put on a record is not taken for the broker's time.
func TestProducersTimes(t *testing.T) {
	broker := fakeTopic(t, nil, &kgo.Record{Timestamp: time.UnixMilli(5000)})
	_, err := readTurn(t, &watermark{}, 0, broker.ListenAddrs(), LogAppendTime())
	if err == nil || !strings.Contains(err.Error(), "topic in, partition 0, offset 0: the record's time is its producer's") {
		t.Errorf("got %v, want to hear whose time it is", err)
	}
}

// TestIdle: the watermark of a partition without new records follows the clock, if a broker
// says that there are none.
func TestIdle(t *testing.T) {
	began := time.Now().UnixMilli()
	follows := func(addrs []string, from int64) bool {
		w := &watermark{millis: 5000}
		for range 2 { // the first turn takes the partition up
			if _, err := readTurn(t, w, from, addrs, IdleAfter(time.Millisecond), RecordTime(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		got := w.now()
		if late := began - time.Hour.Milliseconds() - 1; got != 5000 && (got < late || got > late+time.Minute.Milliseconds()) {
			t.Errorf("the watermark is at %d, want it at about %d", got, late)
		}
		return got != 5000
	}
	broker := fakeTopic(t, nil, &kgo.Record{Timestamp: time.UnixMilli(5000)})
	if !follows(broker.ListenAddrs(), 1) {
		t.Error("the watermark of an idle partition stands still")
	}
	gone := fakeTopic(t, nil, &kgo.Record{Timestamp: time.UnixMilli(5000)})
	addrs := gone.ListenAddrs()
	gone.Close()
	if follows(addrs, 1) {
		t.Error("the watermark goes on though the broker, who may have more, is away")
	}
}

// TestExtractorsNames: a function that no worker could find is refused while the pipeline is built.
func TestExtractorsNames(t *testing.T) {
	for name, c := range map[string]struct {
		fn   func(Record) time.Time
		want string
	}{
		"literal": {func(Record) time.Time { return time.Time{} }, "make it a function at the top level of a package"},
		"method":  {bytesTime{}.of, "make it a function at the top level of a package"},
		"generic": {anyTime[int], "make it a function at the top level of a package"},
		"nil":     {nil, "no function"},
	} {
		conf := readConfig{Cluster: Cluster{Brokers: []string{"localhost:1"}}, Topics: []string{"in"}}
		TimestampBy(c.fn, 0)(&conf)
		if err := conf.check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want to read %q", name, err, c.want)
		}
	}
	if _, err := extractor("example.com/clicks.timeOf"); err == nil || !strings.Contains(err.Error(), "call register.Function1x1") {
		t.Errorf("a function that isn't there: got %v, want to hear of register.Function1x1", err)
	}
	if !hasName("example.com/a.b/c.func1") {
		t.Error("a function called func1 has a name")
	}
}

type bytesTime struct{ bytes.Buffer }

func (bytesTime) of(Record) time.Time { return time.Time{} }

func anyTime[T any](Record) time.Time { return time.Time{} }
