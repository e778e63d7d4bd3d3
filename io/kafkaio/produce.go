package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func init() {
	register.DoFn3x1[context.Context, beam.EventTime, Record, error](&produce{})
}

// produce writes at least once: its bundle ends when the broker has all of it.
type produce struct {
	Conf writeConfig

	cl     *kgo.Client
	ctx    context.Context
	sent   sync.WaitGroup
	done   func(*kgo.Record, error) // f.wrote, made once
	failMu sync.Mutex
	failed error
}

func (f *produce) StartBundle(ctx context.Context) (err error) {
	f.failed = nil
	f.done = f.wrote
	// What is on its way is waited for, even if the bundle is cancelled.
	f.ctx = context.WithoutCancel(ctx)
	f.cl, err = f.Conf.producer()
	return err
}

func (f *produce) ProcessElement(_ context.Context, ts beam.EventTime, r Record) error {
	rec := new(kgo.Record)
	r.toKafka(rec, f.Conf.Topic, int64(ts))
	f.sent.Add(1)
	f.cl.Produce(f.ctx, rec, f.done)
	return nil
}

func (f *produce) wrote(rec *kgo.Record, err error) {
	defer f.sent.Done()
	if err == nil {
		return
	}
	f.failMu.Lock()
	defer f.failMu.Unlock()
	if f.failed == nil {
		f.failed = fmt.Errorf("kafkaio: writing to topic %s: %w", rec.Topic, f.Conf.explain(err))
	}
}

func (f *produce) FinishBundle(context.Context) error {
	f.sent.Wait()
	f.failMu.Lock()
	defer f.failMu.Unlock()
	return f.failed
}

// explain says what to do about an error of writing, where that is known.
func (c *writeConfig) explain(err error) error {
	switch {
	case errors.Is(err, kerr.MessageTooLarge):
		return fmt.Errorf("a record, or a batch of them, has more bytes than the broker or MaxRecordBytes(%d) allows: "+
			"set MaxRecordBytes to the topic's max.message.bytes, and let TryWrite put aside what is larger: %w", c.MaxRecord, err)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("the user may not write to it: grant WRITE and DESCRIBE: %w", err)
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return fmt.Errorf("the user may not write in transactions: grant WRITE and DESCRIBE of transactional ids that begin with %s-: %w", c.Name, err)
	}
	return err
}
