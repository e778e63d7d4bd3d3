package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/summerbeam/summerbeam/io/kafkaio"
)

const (
	users = 200
	// spread is how far apart (ms) a partition's records are.
	spread = 7
)

func init() {
	register.Function1x2(userOf)
	register.Function3x1(countUser)
	register.Iter1[int64]()
}

func userOf(r kafkaio.Record) (string, int64) { return string(r.Key), 1 }

// countUser makes the one result of a user's window.
func countUser(w beam.Window, user string, ones func(*int64) bool) kafkaio.Record {
	n := int64(0)
	for v := int64(0); ones(&v); {
		n += v
	}
	return kafkaio.Record{
		Key:   fmt.Appendf(nil, "%s@%d", user, int64(w.MaxTimestamp())+1),
		Value: binary.BigEndian.AppendUint64(nil, uint64(n)),
	}
}

func runKafka(brokers, topics string) error {
	cluster := kafkaio.Cluster{Brokers: strings.Split(brokers, ",")}
	p, s := beam.NewPipelineWithRoot()
	in := kafkaio.Read(s, cluster, kafkaio.Topics(topics+"clicks"), kafkaio.DiscoverEvery(time.Hour), kafkaio.TellGroup(topics+"watchers"))
	ones := beam.WindowInto(s, window.NewFixedWindows(time.Minute), beam.ParDo(s, userOf, in))
	kafkaio.Write(s, cluster, beam.ParDo(s, countUser, beam.GroupByKey(s, ones)),
		kafkaio.Topic(topics+"counts"), kafkaio.ExactlyOnce(topics+"counts"), kafkaio.Markers(topics+"markers"))
	return beamx.Run(context.Background(), p)
}

// kafkaRun is the cluster with what the job reads, and what it should write.
type kafkaRun struct {
	fake *kfake.Cluster
	cl   *kgo.Client
	want map[string]uint64
	got  map[string]uint64
	// twice are keys that came more than once.
	twice map[string]int
	read  *kgo.Client
	quiet time.Time
}

// newKafkaRun makes the topics and fills the first.
func newKafkaRun(each int64) (*kafkaRun, error) {
	k := &kafkaRun{want: map[string]uint64{}, got: map[string]uint64{}, twice: map[string]int{}}
	if *brokers == "" {
		var err error
		if k.fake, err = kfake.NewCluster(kfake.NumBrokers(1)); err != nil {
			return nil, err
		}
		*brokers = strings.Join(k.fake.ListenAddrs(), ",")
	}
	*topics = fmt.Sprintf("crash-%d-", *seed)
	var err error
	seeds := kgo.SeedBrokers(strings.Split(*brokers, ",")...)
	if k.cl, err = kgo.NewClient(seeds, kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	adm := kadm.NewClient(k.cl)
	for _, t := range []string{"clicks", "counts"} {
		if _, err := adm.CreateTopic(ctx, parts, 1, nil, *topics+t); err != nil {
			return nil, fmt.Errorf("making topic %s: %w", *topics+t, err)
		}
	}
	failed := make(chan error, 1)
	send := func(p int64, key string, millis int64) {
		k.cl.Produce(ctx, &kgo.Record{Topic: *topics + "clicks", Partition: int32(p), Key: []byte(key), Value: make([]byte, 80), Timestamp: time.UnixMilli(millis)},
			func(_ *kgo.Record, err error) {
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			})
	}
	const start = int64(1_700_000_040_000) // the beginning of a minute
	last := int64(0)
	for p := range int64(parts) {
		for i := range each {
			h := uint64(p*1_000_003+i) * 0x9E3779B97F4A7C15
			user, at := fmt.Sprintf("user%03d", (h>>32)%users), start+i*spread
			send(p, user, at)
			k.want[fmt.Sprintf("%s@%d", user, at/60_000*60_000+60_000)]++
			last = max(last, at)
		}
	}
	for p := range int64(parts) {
		send(p, "the end", last+10*60_000) // closes all windows before it
	}
	if err := k.cl.Flush(ctx); err != nil {
		return nil, err
	}
	select {
	case err := <-failed:
		return nil, fmt.Errorf("filling topic %s: %w", *topics+"clicks", err)
	default:
	}
	k.read, err = kgo.NewClient(seeds, kgo.ConsumeTopics(*topics+"counts"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	return k, err
}

// take reads what has been committed since the last call.
func (k *kafkaRun) take() error {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	f := k.read.PollFetches(ctx)
	var failed error
	f.EachError(func(_ string, _ int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) {
			failed = err
		}
	})
	f.EachRecord(func(r *kgo.Record) {
		k.quiet = time.Now()
		if _, ok := k.got[string(r.Key)]; ok {
			k.twice[string(r.Key)]++
		}
		k.got[string(r.Key)] = binary.BigEndian.Uint64(r.Value)
	})
	return failed
}

// complete says that all results are there, and that nothing has come for a while.
func (k *kafkaRun) complete() (bool, error) {
	if err := k.take(); err != nil {
		return false, err
	}
	return len(k.got) >= len(k.want) && time.Since(k.quiet) > 3*time.Second, nil
}

func (k *kafkaRun) check() error {
	if err := k.take(); err != nil {
		return err
	}
	wrong := 0
	for key, n := range k.want {
		if k.got[key] != n {
			wrong++
		}
	}
	if wrong > 0 || len(k.got) != len(k.want) || len(k.twice) > 0 {
		return fmt.Errorf("of %d results %d are wrong, %d came more than once, %d were not asked for", len(k.want), wrong, len(k.twice), len(k.got)-len(k.want))
	}
	fmt.Printf("%d results, each written once, all as they must be\n", len(k.want))
	return nil
}

func (k *kafkaRun) close() {
	k.cl.Close()
	if k.read != nil {
		k.read.Close()
	}
	if k.fake != nil {
		k.fake.Close()
	}
}
