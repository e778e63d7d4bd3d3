package kafkaio_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/summerbeam/summerbeam/io/kafkaio"
	"github.com/summerbeam/summerbeam/runner/beamrunner"
)

func init() {
	register.Function1x1(same)
	register.Function1x2(one)
	register.Function3x1(countOnes)
	register.Iter1[int64]()
	register.Function1x0(forget)
}

func same(r kafkaio.Record) kafkaio.Record {
	return kafkaio.Record{Key: r.Key, Value: r.Value, Millis: r.Millis}
}

func forget(kafkaio.Record) {}

func one(r kafkaio.Record) (string, int64) { return string(r.Key), 1 }

func countOnes(w beam.Window, user string, ones func(*int64) bool) kafkaio.Record {
	n := int64(0)
	for v := int64(0); ones(&v); {
		n += v
	}
	return kafkaio.Record{Key: []byte(user), Value: binary.BigEndian.AppendUint64(nil, uint64(n)), Millis: int64(w.MaxTimestamp())}
}

const (
	benchRecords = 400_000
	benchParts   = 4
	benchUsers   = 20_000
)

// fill writes records of about 111 bytes, 2 ms apart in each partition, and at the end of each
// one that closes all windows.
func fill(b *broker, topic string) {
	b.t.Helper()
	value := make([]byte, 90)
	h := uint64(1)
	for i := range benchRecords {
		h ^= h << 13
		h ^= h >> 7
		h ^= h << 17
		b.cl.Produce(b.t.Context(), rec(topic, int32(i%benchParts), fmt.Sprintf("user%06d", h%benchUsers), string(value), int64(i/benchParts*2)), nil)
	}
	for p := range int32(benchParts) {
		b.cl.Produce(b.t.Context(), rec(topic, p, "end", "", 10*benchRecords), nil)
	}
	if err := b.cl.Flush(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// BenchmarkStream: from a full topic until all is through, embedded, durable, with Pebble. The
// broker's share is in it.
func BenchmarkStream(bench *testing.B) {
	for name, build := range map[string]func(beam.Scope, kafkaio.Cluster, beam.PCollection) int64{
		"read": func(s beam.Scope, _ kafkaio.Cluster, in beam.PCollection) int64 {
			beam.ParDo0(s, forget, in)
			return 0
		},
		"copy": func(s beam.Scope, c kafkaio.Cluster, in beam.PCollection) int64 {
			kafkaio.Write(s, c, beam.ParDo(s, same, in), kafkaio.Topic("out"), kafkaio.ExactlyOnce("bench"))
			return benchRecords + benchParts
		},
		"count": func(s beam.Scope, c kafkaio.Cluster, in beam.PCollection) int64 {
			ones := beam.WindowInto(s, window.NewFixedWindows(time.Minute), beam.ParDo(s, one, in))
			kafkaio.Write(s, c, beam.ParDo(s, countOnes, beam.GroupByKey(s, ones)), kafkaio.Topic("out"), kafkaio.ExactlyOnce("bench"))
			return 60_000
		},
	} {
		bench.Run(name, func(bench *testing.B) {
			var spent time.Duration
			for range bench.N {
				b := newBroker(bench, benchParts, "in", "out")
				fill(b, "in")
				setFlag(bench, "summerbeam_data_dir", bench.TempDir())
				setFlag(bench, "job_name", "bench")
				p, s := beam.NewPipelineWithRoot()
				want := build(s, b.cluster, kafkaio.Read(s, b.cluster, kafkaio.Topics("in"), kafkaio.TellGroup("group")))
				ctx, cancel := context.WithCancel(bench.Context())
				ended := make(chan error, 1)
				began := time.Now()
				go func() {
					_, err := beamrunner.Execute(ctx, p)
					ended <- err
				}()
				for !b.told("group", benchRecords+benchParts) || b.written("out") < want {
					if time.Since(began) > 5*time.Minute {
						bench.Fatalf("all read: %v; %d records written, want %d", b.told("group", benchRecords+benchParts), b.written("out"), want)
					}
					select {
					case err := <-ended:
						bench.Fatal(err)
					case <-time.After(20 * time.Millisecond):
					}
				}
				spent += time.Since(began)
				cancel()
				<-ended
			}
			bench.ReportMetric(float64(benchRecords*bench.N)/spent.Seconds(), "records/s")
		})
	}
}

// told says that a group's offsets add up to n.
func (b *broker) told(group string, n int64) bool {
	offsets, err := kadm.NewClient(b.cl).FetchOffsets(b.t.Context(), group)
	if err != nil {
		return false
	}
	offsets.Each(func(o kadm.OffsetResponse) { n -= o.At })
	return n == 0
}

// written is how many offsets a topic has, up to the last stable ones.
func (b *broker) written(topic string) (n int64) {
	ends, err := kadm.NewClient(b.cl).ListCommittedOffsets(b.t.Context(), topic)
	if err != nil {
		b.t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}
