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

func (c *writeConfig) check() error {
	if err := c.Cluster.check(); err != nil {
		return err
	}
	if c.Shards < 1 {
		return fmt.Errorf("kafkaio: %d shards", c.Shards)
	}
	return nil
}

// Write writes a collection of Records. A record that a broker refuses fails its bundle.
// It panics if its options contradict each other.
func Write(s beam.Scope, c Cluster, records beam.PCollection, opts ...WriteOption) {
	s = s.Scope("kafkaio.Write")
	conf := writeConfig{Cluster: c, Shards: 4, Markers: "summerbeam-markers"}
	for _, o := range opts {
		o(&conf)
	}
	if err := conf.check(); err != nil {
		panic(err)
	}
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
