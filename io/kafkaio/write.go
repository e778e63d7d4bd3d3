package kafkaio

import (
	"fmt"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
)

type writeConfig struct {
	Cluster Cluster
	Topic   string
	// Name and Shards are set for exactly once.
	Name   string
	Shards int
	// Markers is the topic of markers.
	Markers string
	// MaxRecord is how many bytes a batch may have, and so a record; 0 is the default.
	MaxRecord int
}

// WriteOption is an option of Write.
type WriteOption func(*writeConfig)

// Topic is where records go that don't name a topic themselves.
func Topic(name string) WriteOption { return func(c *writeConfig) { c.Topic = name } }

// ExactlyOnce writes each record once, in transactions. The name begins the ids of the
// transactions: no other pipeline may use it on the same cluster. A warning says, while the
// pipeline is built, what its runner doesn't promise.
func ExactlyOnce(name string) WriteOption { return func(c *writeConfig) { c.Name = name } }

// Shards is how many transactions there may be at once, with ExactlyOnce. The default is
// 4. A key's records are of one shard, and stay in order. The number can't change while
// a job lives.
func Shards(n int) WriteOption { return func(c *writeConfig) { c.Shards = n } }

// Markers is the compacted topic that has the number of the last record of each writer,
// with ExactlyOnce. The default is "summerbeam-markers"; it is made if it isn't there.
func Markers(topic string) WriteOption { return func(c *writeConfig) { c.Markers = topic } }

// MaxRecordBytes is how large a record may be with its key and headers, in bytes, and so
// a batch of records. The default is 1,000,012, for which Kafka's own defaults have room. A topic with
// another max.message.bytes wants that here: less, and a broker refuses batches; more, and
// only smaller records are written.
func MaxRecordBytes(n int) WriteOption { return func(c *writeConfig) { c.MaxRecord = n } }

func (c *writeConfig) check() error {
	if err := c.Cluster.check(); err != nil {
		return err
	}
	if c.MaxRecord < 1<<10 || c.MaxRecord > 64<<20 {
		return fmt.Errorf("kafkaio: MaxRecordBytes(%d): it must be between 1 KiB and 64 MiB", c.MaxRecord)
	}
	if c.Shards < 1 {
		return fmt.Errorf("kafkaio: %d shards", c.Shards)
	}
	return nil
}

// Write writes a collection of Records. A record that is too large, or that a broker refuses, fails its
// bundle. It panics if its options contradict each other.
func Write(s beam.Scope, c Cluster, records beam.PCollection, opts ...WriteOption) {
	write(s.Scope("kafkaio.Write"), writing(c, opts), records)
}

// TryWrite is Write, but for records that are too large: they are put aside, and it returns
// them as a collection of DeadLetters.
func TryWrite(s beam.Scope, c Cluster, records beam.PCollection, opts ...WriteOption) (letters beam.PCollection) {
	s = s.Scope("kafkaio.TryWrite")
	conf := writing(c, opts)
	good, letters := beam.ParDo2(s, &sift{Max: conf.MaxRecord}, records)
	write(s, conf, good)
	return letters
}

func writing(c Cluster, opts []WriteOption) writeConfig {
	conf := writeConfig{Cluster: c, Shards: 4, Markers: "summerbeam-markers", MaxRecord: defaultMaxRecord}
	for _, o := range opts {
		o(&conf)
	}
	if err := conf.check(); err != nil {
		panic(err)
	}
	return conf
}

func write(s beam.Scope, conf writeConfig, records beam.PCollection) {
	if conf.Name == "" {
		beam.ParDo0(s, &produce{Conf: conf}, records)
		return
	}
	warnUnpromised(conf.Name)
	// State is by key and window, and goes with the window. The numbers of a shard are for
	// all of the job.
	sharded := beam.ParDo(s, &shardRecords{Conf: conf}, beam.WindowInto(s, window.NewGlobalWindows(), records))
	numbered := beam.ParDo(s, newNumberRecords(conf), sharded)
	beam.ParDo0(s, newTransact(conf), numbered)
}
