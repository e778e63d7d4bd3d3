package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Numbered is a record with the number that state has given it, among those of its writer.
// It is exported for Beam's coders alone.
type Numbered struct {
	Writer string
	Number int64
	Record Record
}

func init() {
	beam.RegisterType(reflect.TypeFor[Numbered]())
	register.DoFn3x1[context.Context, beam.EventTime, Record, error](&produce{})
	register.DoFn3x0[beam.EventTime, Record, func(string, Record)](&shardRecords{})
	register.Emitter2[string, Record]()
	register.DoFn4x1[state.Provider, string, Record, func(string, Numbered), error](&numberRecords{})
	register.Emitter2[string, Numbered]()
	register.DoFn4x1[context.Context, state.Provider, string, Numbered, error](&transact{})
}

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
// transactions: no other pipeline may use it on the same cluster.
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
	// State is by key and window, and goes with the window. The numbers of a shard are for
	// all of the job.
	sharded := beam.ParDo(s, &shardRecords{Conf: conf}, beam.WindowInto(s, window.NewGlobalWindows(), records))
	numbered := beam.ParDo(s, newNumberRecords(conf), sharded)
	beam.ParDo0(s, newTransact(conf), numbered)
}

// produce writes at least once.
type produce struct {
	Conf writeConfig

	cl     *kgo.Client
	sent   sync.WaitGroup
	failMu sync.Mutex
	failed error
}

func (f *produce) StartBundle(context.Context) (err error) {
	f.failed = nil
	f.cl, err = f.Conf.Cluster.client()
	return err
}

func (f *produce) ProcessElement(ctx context.Context, ts beam.EventTime, r Record) error {
	f.sent.Add(1)
	f.cl.Produce(context.WithoutCancel(ctx), r.toKafka(f.Conf.Topic, int64(ts)), func(rec *kgo.Record, err error) {
		defer f.sent.Done()
		if err == nil {
			return
		}
		f.failMu.Lock()
		defer f.failMu.Unlock()
		if f.failed == nil {
			f.failed = fmt.Errorf("kafkaio: writing to topic %s: %w", rec.Topic, err)
		}
	})
	return nil
}

func (f *produce) FinishBundle(context.Context) error {
	f.sent.Wait()
	f.failMu.Lock()
	defer f.failMu.Unlock()
	return f.failed
}

// shardRecords spreads records over shards, by their keys.
type shardRecords struct {
	Conf writeConfig
	next int
}

func (f *shardRecords) ProcessElement(ts beam.EventTime, r Record, emit func(string, Record)) {
	if r.Millis == 0 {
		r.Millis = int64(ts)
	}
	shard := f.next
	if f.next++; f.next >= f.Conf.Shards {
		f.next = 0
	}
	if !r.NoKey && r.Key != nil {
		shard = int(xxhash.Sum64(r.Key) % uint64(f.Conf.Shards))
	}
	emit(strconv.Itoa(shard), r)
}

// numberRecords gives each record of a shard the next number, and the shard's writer,
// which is new when the job is: another job's markers say nothing about this one's.
type numberRecords struct {
	Conf   writeConfig
	Writer state.Value[string]
	Next   state.Value[int64]
}

func newNumberRecords(conf writeConfig) *numberRecords {
	return &numberRecords{Conf: conf, Writer: state.MakeValueState[string]("writer"), Next: state.MakeValueState[int64]("next")}
}

func (f *numberRecords) ProcessElement(sp state.Provider, shard string, r Record, emit func(string, Numbered)) error {
	writer, ok, err := f.Writer.Read(sp)
	if err != nil {
		return err
	}
	if !ok {
		writer = uuid.NewString()
		if err := f.Writer.Write(sp, writer); err != nil {
			return err
		}
	}
	n, _, err := f.Next.Read(sp)
	if err != nil {
		return err
	}
	emit(shard, Numbered{Writer: writer, Number: n + 1, Record: r})
	return f.Next.Write(sp, n+1)
}

// transact writes numbered records in transactions.
//
// What it gets is durable, and it gets the same again if it fails. A transaction holds
// records and, as a marker, the number of the last of them. What has a number at or
// below the marker was written by a transaction that was committed before a failure, and
// is left out.
//
// It has state, so that a runner gives it a shard's records in order and one bundle at a
// time. The state says which number it wrote last: if that is more than 0 and there is no
// marker, somebody has lost the markers, and to begin at 0 would write all again.
type transact struct {
	Conf        writeConfig
	Annotations map[string][]byte
	Last        state.Value[int64]

	shards map[string]*pendingShard
}

// pendingShard is what a bundle has for a shard.
type pendingShard struct {
	tx      *transactor
	records []*kgo.Record
	last    int64
	// known is what state says was written last.
	known int64
}

func newTransact(conf writeConfig) *transact {
	return &transact{Conf: conf, Annotations: stableInput(), Last: state.MakeValueState[int64]("last")}
}

func (f *transact) StartBundle(context.Context) {
	for _, p := range f.shards {
		p.tx.close() // of a bundle that failed
	}
	f.shards = make(map[string]*pendingShard)
}

func (f *transact) ProcessElement(ctx context.Context, sp state.Provider, shard string, n Numbered) error {
	p := f.shards[shard]
	if p == nil {
		known, _, err := f.Last.Read(sp)
		if err != nil {
			return err
		}
		tx, err := takeTransactor(ctx, &f.Conf, shard, n.Writer)
		if err != nil {
			return err
		}
		p = &pendingShard{tx: tx, last: tx.marker, known: known}
		f.shards[shard] = p
		if tx.marker < known {
			return fmt.Errorf("kafkaio: writer %s-%s has written up to %d, but topic %s says %d: its markers are lost (was it deleted, or isn't it compacted?)",
				f.Conf.Name, shard, known, f.Conf.Markers, tx.marker)
		}
	}
	if n.Number <= p.last {
		return f.note(sp, p, n.Number)
	}
	if n.Number != p.last+1 {
		return fmt.Errorf("kafkaio: shard %s: record %d comes behind %d: the runner has not kept the order of a key's elements", shard, n.Number, p.last)
	}
	p.last = n.Number
	p.records = append(p.records, n.Record.toKafka(f.Conf.Topic, n.Record.Millis))
	return f.note(sp, p, n.Number)
}

// note remembers in state what is written when the bundle has succeeded.
func (f *transact) note(sp state.Provider, p *pendingShard, n int64) error {
	if n <= p.known {
		return nil
	}
	p.known = n
	return f.Last.Write(sp, n)
}

func (f *transact) FinishBundle(ctx context.Context) error {
	var errs []error
	for shard, p := range f.shards {
		if len(p.records) > 0 {
			if err := p.tx.commit(ctx, p.records, p.last); err != nil {
				// Whether it was committed is not known: the next attempt asks.
				p.tx.close()
				errs = append(errs, fmt.Errorf("kafkaio: transaction of shard %s: %w", shard, err))
				continue
			}
		}
		p.tx.put()
	}
	f.shards = nil
	return errors.Join(errs...)
}

// commitTimeout bounds a transaction.
const commitTimeout = time.Minute
