package kafkaio

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// spent is how much CPU this process has used.
func spent() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFeeds: partitions that are read at the same time, turn by turn, without a runner. An idle turn finds nothing. The
// broker's share of the CPU is in it.
func BenchmarkFeeds(b *testing.B) {
	const value = 90
	for _, c := range []struct {
		name             string
		partitions, each int
	}{{"idle=4", 4, 0}, {"idle=64", 64, 0}, {"full=4", 4, 100_000}, {"full=64", 64, 6_000}} {
		b.Run(c.name, func(b *testing.B) {
			broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(int32(c.partitions), "in"))
			if err != nil {
				b.Fatal(err)
			}
			defer broker.Close()
			cl, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err != nil {
				b.Fatal(err)
			}
			defer cl.Close()
			for p := range c.partitions {
				for i := range c.each {
					cl.Produce(b.Context(), &kgo.Record{Topic: "in", Partition: int32(p), Key: fmt.Appendf(nil, "user%06d", i), Value: make([]byte, value)}, nil)
				}
			}
			if err := cl.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			var fetches, connections atomic.Int64
			broker.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
				broker.KeepControl()
				switch req.(type) {
				case *kmsg.FetchRequest:
					fetches.Add(1)
				case *kmsg.ApiVersionsRequest:
					connections.Add(1)
				}
				return nil, nil, false
			})
			readers := make([]reader, c.partitions)
			for p := range readers {
				readers[p].Conf = readConfig{Cluster: Cluster{Brokers: broker.ListenAddrs()}, Topics: []string{"in"}}
			}
			b.ReportAllocs()
			from := spent()
			for b.Loop() {
				var wg sync.WaitGroup
				for p := range c.partitions {
					wg.Go(func() {
						f := &readers[p]
						part, next := Partition{Topic: "in", Number: int32(p), Stop: math.MaxInt64}, int64(0)
						for again := true; again; again = next < int64(c.each) {
							t, err := f.read(b.Context(), newOffsets(offsetrange.Restriction{Start: next, End: math.MaxInt64}, 0), part, next, func(int64, Record) {})
							if err != nil {
								b.Error(err)
								return
							}
							next = t.next
						}
					})
				}
				wg.Wait()
			}
			turns := float64(b.N * c.partitions)
			b.ReportMetric(float64((spent()-from).Microseconds())/turns, "cpu-us/turn")
			if c.each > 0 {
				b.ReportMetric(float64((spent()-from).Nanoseconds())/turns/float64(c.each), "cpu-ns/record")
			}
			b.ReportMetric(float64(fetches.Load())/turns, "fetches/turn")
			b.ReportMetric(float64(connections.Load()), "connections")
		})
	}
}
