package kafkaio

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Written is what the state of a shard's writer says was written last: the number of the
// last record, and an offset of the topic of markers from which on its marker is. It is
// exported for Beam's coders alone.
type Written struct{ Last, From int64 }

func init() {
	beam.RegisterType(reflect.TypeFor[Written]())
	register.DoFn4x1[context.Context, beam.EventTime, Record, func(beam.EventTime, string, []byte), error](&shardRecords{})
	register.Emitter3[beam.EventTime, string, []byte]()
	beam.RegisterDoFn(&numberRecords{})
	register.Emitter2[string, []byte]()
	beam.RegisterDoFn(&transact{})
}

// shardBytes is when a shard's batch of records is full.
const shardBytes = 128 << 10

// shardRecords spreads records over shards, by their keys, and puts them together in
// batches, so that what costs much, state above all, is done for a batch and not for a
// record. A batch is coded records, one behind the other.
type shardRecords struct {
	Conf writeConfig

	batches []batch
	turn    int // the shard of the next record without a key
}

// batch is what a bundle has for a shard, and the earliest of the times.
type batch struct {
	records []byte
	time    beam.EventTime
}

func (f *shardRecords) StartBundle(context.Context, func(beam.EventTime, string, []byte)) {
	f.batches = make([]batch, f.Conf.Shards)
}

func (f *shardRecords) ProcessElement(_ context.Context, ts beam.EventTime, r Record, emit func(beam.EventTime, string, []byte)) error {
	if r.Millis == 0 {
		r.Millis = int64(ts)
	}
	var shard int
	if !r.NoKey && r.Key != nil {
		shard = int(xxhash.Sum64(r.Key) % uint64(f.Conf.Shards))
	} else {
		shard = f.turn
		f.turn = (f.turn + 1) % f.Conf.Shards
	}
	b := &f.batches[shard]
	if len(b.records) == 0 || ts < b.time {
		b.time = ts
	}
	b.records = appendRecord(b.records, &r)
	if len(b.records) >= shardBytes {
		b.flush(shard, emit)
	}
	return nil
}

func (f *shardRecords) FinishBundle(_ context.Context, emit func(beam.EventTime, string, []byte)) {
	for shard := range f.batches {
		f.batches[shard].flush(shard, emit)
	}
	f.batches = nil
}

func (b *batch) flush(shard int, emit func(beam.EventTime, string, []byte)) {
	if len(b.records) > 0 {
		emit(b.time, strconv.Itoa(shard), b.records)
		b.records = nil
	}
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

func (f *numberRecords) ProcessElement(sp state.Provider, shard string, records []byte, emit func(string, []byte)) error {
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
	last, _, err := f.Next.Read(sp)
	if err != nil {
		return err
	}
	n := int64(0)
	for rest := records; len(rest) > 0; n++ {
		if rest, err = cutRecord(rest, new(Record)); err != nil {
			return err
		}
	}
	emit(shard, numbered{writer: writer, first: last + 1, records: records}.encode())
	return f.Next.Write(sp, last+n)
}

// numbered is a batch of a writer's records, the first of which has a number.
type numbered struct {
	writer  string
	first   int64
	records []byte
}

func (n numbered) encode() []byte {
	b := appendBytes(make([]byte, 0, len(n.records)+len(n.writer)+20), n.writer)
	b = binary.AppendVarint(b, n.first)
	return append(b, n.records...)
}

func decodeNumbered(b []byte) (numbered, error) {
	c := cutter{b: b}
	n := numbered{writer: string(c.bytes()), first: c.varint()}
	n.records = c.b
	return n, c.err
}

// transact writes numbered records in transactions.
//
// What it gets is durable, and it gets the same again if it fails. A transaction holds
// records and, as a marker, the number of the last of them. What has a number at or
// below the marker was written by a transaction that was committed before a failure, and
// is left out.
//
// It has state, so that a runner gives it a shard's records in order and one bundle at a
// time. The state says which number it wrote last: if that is more than the marker says,
// or if there is no marker, somebody has lost the markers, and to begin at 0 would write
// all again.
type transact struct {
	Conf        writeConfig
	Annotations map[string][]byte
	Last        state.Value[Written]

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
	return &transact{Conf: conf, Annotations: stableInput(), Last: state.MakeValueState[Written]("last")}
}

func (f *transact) StartBundle(context.Context) {
	for _, p := range f.shards {
		p.tx.close() // of a bundle that failed
	}
	f.shards = make(map[string]*pendingShard)
}

func (f *transact) ProcessElement(ctx context.Context, sp state.Provider, shard string, coded []byte) error {
	n, err := decodeNumbered(coded)
	if err != nil {
		return err
	}
	p := f.shards[shard]
	if p == nil {
		if p, err = f.open(ctx, sp, shard, n.writer); err != nil {
			return err
		}
		f.shards[shard] = p
	}
	number := n.first
	for rest := n.records; len(rest) > 0; number++ {
		var r Record
		if rest, err = cutRecord(rest, &r); err != nil {
			return err
		}
		if number <= p.last {
			continue
		}
		if number != p.last+1 {
			return fmt.Errorf("kafkaio: shard %s: record %d comes behind %d: the runner has not kept the order of a key's elements", shard, number, p.last)
		}
		out := new(kgo.Record)
		r.toKafka(out, f.Conf.Topic, r.Millis)
		p.records = append(p.records, out)
		p.last = number
	}
	if number-1 <= p.known {
		return nil
	}
	// It is so when the bundle has succeeded.
	p.known = number - 1
	return f.Last.Write(sp, Written{Last: p.known, From: p.tx.markerAt})
}

// open takes up the shard's writer, and compares what state and marker say.
func (f *transact) open(ctx context.Context, sp state.Provider, shard, writer string) (*pendingShard, error) {
	known, _, err := f.Last.Read(sp)
	if err != nil {
		return nil, err
	}
	tx, err := takeTransactor(ctx, &f.Conf, shard, writer, known.From)
	if err != nil {
		return nil, err
	}
	if tx.marker < known.Last {
		tx.close()
		return nil, fmt.Errorf("kafkaio: writer %s has written up to %d, but topic %s says %d: its markers are lost (was it deleted, or isn't it compacted?)",
			tx.key.id(), known.Last, f.Conf.Markers, tx.marker)
	}
	return &pendingShard{tx: tx, last: tx.marker, known: known.Last}, nil
}

// FinishBundle commits, all shards at once: each waits for the brokers most of the time.
func (f *transact) FinishBundle(ctx context.Context) error {
	var all sync.WaitGroup
	errs := make(chan error, len(f.shards))
	for shard, p := range f.shards {
		all.Go(func() {
			if len(p.records) > 0 {
				if err := p.tx.commit(ctx, p.records, p.last); err != nil {
					// Whether it was committed is not known: the next attempt asks.
					p.tx.close()
					errs <- fmt.Errorf("kafkaio: transaction of shard %s: %w", shard, f.Conf.explain(err))
					return
				}
			}
			p.tx.put()
		})
	}
	all.Wait()
	close(errs)
	f.shards = nil
	var failed []error
	for err := range errs {
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// commitTimeout bounds a transaction.
const commitTimeout = time.Minute
