package kafkaio

import (
	"errors"
	"fmt"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
)

// readConfig is what Read's options set. It travels in the pipeline.
type readConfig struct {
	Cluster  Cluster
	Topics   []string
	Pattern  string
	From     Position
	Until    *Position
	Isolated bool
	// OutOfRange is what to do about offsets that are gone: fail, earliest, latest.
	OutOfRange string
	// Follow says to go on with a topic that has taken the place of one that is gone.
	Follow bool
	// Discover is how often to look for new partitions, Group who is told of offsets.
	Discover time.Duration
	Group    string
	// Clock says where timestamps come from, Extractor the name of the function if there is one.
	Clock     clock
	Extractor string
	Disorder  time.Duration
	IdleAfter time.Duration
}

// ReadOption is an option of Read.
type ReadOption func(*readConfig)

// Topics says which topics to read, besides those of a TopicPattern.
func Topics(names ...string) ReadOption {
	return func(c *readConfig) { c.Topics = append(c.Topics, names...) }
}

// TopicPattern reads all topics whose whole names match a regular expression (Go's
// syntax), also ones that appear while the job runs: those from their first record. The
// cluster's own topics, whose names begin with two underscores, are never among them. A
// bounded read looks once, and fails if it finds none.
func TopicPattern(pattern string) ReadOption { return func(c *readConfig) { c.Pattern = pattern } }

// From says where to begin in partitions that are there when the job begins; others are
// read from their first record. The default is Earliest.
func From(p Position) ReadOption { return func(c *readConfig) { c.From = p } }

// Until makes the collection bounded: it ends there. Partitions that appear later are
// not read.
func Until(p Position) ReadOption { return func(c *readConfig) { c.Until = &p } }

// ReadCommitted leaves out records of transactions that are not committed.
func ReadCommitted() ReadOption { return func(c *readConfig) { c.Isolated = true } }

// IfOutOfRange says where to go on when the next offset is gone, by retention say:
// Earliest or Latest. The default is to fail.
func IfOutOfRange(p Position) ReadOption { return func(c *readConfig) { c.OutOfRange = p.Kind } }

// FollowRecreated goes on when a topic is deleted and made again: the new one is read from its first
// record, as soon as it is found (DiscoverEvery), and what wasn't read of the old one is left out. The
// default is to fail. A bounded read always does.
func FollowRecreated() ReadOption { return func(c *readConfig) { c.Follow = true } }

// DiscoverEvery is how often to look for new partitions. The default is a minute.
func DiscoverEvery(d time.Duration) ReadOption { return func(c *readConfig) { c.Discover = d } }

// TellGroup commits offsets to a consumer group once they are durable, for tools that
// show how far behind it is. Nothing is ever read from there, unless From says so.
func TellGroup(group string) ReadOption { return func(c *readConfig) { c.Group = group } }

func (c *readConfig) check() error {
	if err := c.Cluster.check(); err != nil {
		return err
	}
	if len(c.Topics) == 0 && c.Pattern == "" {
		return errors.New("kafkaio: no topics to read: use Topics or TopicPattern")
	}
	if _, err := c.pattern(); err != nil {
		return err
	}
	if err := c.checkClock(); err != nil {
		return err
	}
	switch c.OutOfRange {
	case "", "earliest", "latest":
	default:
		return fmt.Errorf("kafkaio: IfOutOfRange(%s): it must be Earliest or Latest", c.OutOfRange)
	}
	return nil
}

// Read reads topics as a collection of Records. It panics if its options contradict each
// other, as Beam's transforms do while a pipeline is built.
func Read(s beam.Scope, c Cluster, opts ...ReadOption) beam.PCollection {
	s = s.Scope("kafkaio.Read")
	conf := readConfig{Cluster: c, From: Earliest(), Discover: time.Minute, Clock: recordTime}
	for _, o := range opts {
		o(&conf)
	}
	if conf.Clock == appendTime && conf.IdleAfter == 0 {
		conf.IdleAfter = appendSkew
	}
	if err := conf.check(); err != nil {
		panic(err)
	}
	if conf.Until != nil {
		parts := beam.Reshuffle(s, beam.ParDo(s, &listPartitions{Conf: conf}, beam.Impulse(s)))
		return beam.ParDo(s, &readBounded{reader{Conf: conf}}, parts)
	}
	found := beam.ParDo(s, &watch{Conf: conf}, beam.Impulse(s))
	parts := beam.ParDo(s, newFirstSight(conf), found)
	records, positions := beam.ParDo2(s, &readUnbounded{reader{Conf: conf}}, parts)
	if conf.Group != "" {
		beam.ParDo0(s, newTellGroup(conf), positions)
	}
	return records
}
