package kafkaio

import (
	"context"
	"fmt"
	"sync"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
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
	f.cl, err = f.Conf.Cluster.client()
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
		f.failed = fmt.Errorf("kafkaio: writing to topic %s: %w", rec.Topic, err)
	}
}

func (f *produce) FinishBundle(context.Context) error {
	f.sent.Wait()
	f.failMu.Lock()
	defer f.failMu.Unlock()
	return f.failed
}
