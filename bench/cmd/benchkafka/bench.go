package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/summerbeam/summerbeam/bench/internal/measure"
	"github.com/summerbeam/summerbeam/bench/internal/proc"
	"github.com/summerbeam/summerbeam/bench/kafka/clicks"
)

// topicIn is what all runs read.
const topicIn = "clicks"

// bench is a broker with the records, and what the results must be.
type bench struct {
	*flags
	counts *clicks.Counts
	cl     *kgo.Client
}

func (b *bench) seeds() kgo.Opt { return kgo.SeedBrokers(strings.Split(b.Brokers, ",")...) }

// connect fills the topic.
func (b *bench) connect(ctx context.Context, size clicks.Size) (err error) {
	if b.cl, err = kgo.NewClient(b.seeds(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression())); err != nil {
		return err
	}
	if err := b.topic(ctx, topicIn, "CreateTime"); err != nil {
		return err
	}
	failed := make(chan error, 1)
	size.Each(func(r *kgo.Record) {
		r.Topic = topicIn
		b.cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	})
	if err := b.cl.Flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return fmt.Errorf("filling topic %s: %w", topicIn, err)
	default:
		return nil
	}
}

func (b *bench) close() { b.cl.Close() }

// topic makes a topic that keeps records however old they say they are.
func (b *bench) topic(ctx context.Context, name, timestamps string) error {
	forever := "-1"
	_, err := kadm.NewClient(b.cl).CreateTopic(ctx, clicks.Partitions, 1,
		map[string]*string{"retention.ms": &forever, "message.timestamp.type": &timestamps}, name)
	if err != nil {
		return fmt.Errorf("making topic %s: %w", name, err)
	}
	return nil
}

// output makes a topic for results and begins to read it. Records have the time of the
// broker that has appended them, which says whether they were before a restart.
func (b *bench) output(ctx context.Context, name string) (*output, error) {
	if err := b.topic(ctx, name, "LogAppendTime"); err != nil {
		return nil, err
	}
	return watch(ctx, b.counts.Len(), b.seeds(), kgo.ConsumeTopics(name))
}

// usage is the CPU time that a client and the broker have used so far.
func (b *bench) usage(p *process) (client, broker time.Duration) {
	return proc.CPU(p.pid()), proc.CPU(b.PID)
}

// errTime is why a run has been given up.
var errTime = errors.New("it was over its time limit")

// whole measures a run from its first record to its last result. An error is about the
// measuring; what fails in the run is in its Run.
func (b *bench) whole(ctx context.Context, p peer, name string) (measure.Run, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.Timeout, errTime)
	defer cancel()
	dir, err := b.fresh(name)
	if err != nil {
		return measure.Run{}, err
	}
	out, err := b.output(ctx, name)
	if err != nil {
		return measure.Run{}, err
	}
	defer out.close()
	pr, err := p.start(name, dir)
	if err != nil {
		return measure.Run{}, err
	}
	defer pr.kill()
	memory := proc.Watch(0, nil, pr.pid())
	r, err := b.drain(ctx, out, pr)
	r.Peak = memory.Stop().Total
	if err != nil {
		r.Error = err.Error()
		return r, nil
	}
	// What should not come may come late.
	out.settle(ctx)
	pr.kill()
	// The samples see little of a short peak.
	r.Peak = max(r.Peak, pr.maxRSS())
	r.ProgramPeak = r.Peak
	records := out.stop()
	r.Outputs = len(records)
	if err := b.counts.Check(records); err != nil {
		r.Error = err.Error()
	}
	return r, nil
}

// drain measures from the first record to the last result.
func (b *bench) drain(ctx context.Context, out *output, pr *process) (r measure.Run, err error) {
	var first int64
	select {
	case first = <-pr.first:
	case <-pr.ended:
		return r, pr.why("it has ended before it has read")
	case <-ctx.Done():
		return r, context.Cause(ctx)
	}
	client, broker := b.usage(pr)
	select {
	case <-out.complete:
	case <-pr.ended:
		return r, pr.why("it has ended before all results were there")
	case <-ctx.Done():
		return r, fmt.Errorf("%w, with %d of %d results", context.Cause(ctx), out.len(), b.counts.Len())
	}
	client2, broker2 := b.usage(pr)
	r.CPU, r.BrokerCPU = (client2 - client).Seconds(), (broker2 - broker).Seconds()
	r.Seconds = out.last().Sub(time.UnixMilli(first)).Seconds()
	return r, nil
}

// killed measures how long it takes to the first new result after a kill.
func (b *bench) killed(ctx context.Context, p peer, name string) (measure.Run, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.Timeout, errTime)
	defer cancel()
	dir, err := b.fresh(name)
	if err != nil {
		return measure.Run{}, err
	}
	out, err := b.output(ctx, name)
	if err != nil {
		return measure.Run{}, err
	}
	defer out.close()
	pr, err := p.start(name, dir)
	if err != nil {
		return measure.Run{}, err
	}
	defer func() { pr.kill() }()
	select {
	case <-out.half:
	case <-pr.ended:
		return measure.Run{Error: pr.why("it has ended before half of the results were there").Error()}, nil
	case <-ctx.Done():
		return measure.Run{Error: context.Cause(ctx).Error()}, nil
	}
	pr.kill()
	started := time.Now()
	if pr, err = p.start(name, dir); err != nil {
		return measure.Run{}, err
	}
	var r measure.Run
	select {
	case at := <-out.firstAfter(started):
		r.FirstOutput = at.Sub(started).Seconds()
	case <-pr.ended:
		r.Error = pr.why("it has ended after its restart").Error()
	case <-ctx.Done():
		r.Error = context.Cause(ctx).Error()
	}
	if r.Error != "" {
		return r, nil
	}
	select {
	case <-out.complete:
		r.Seconds = out.last().Sub(started).Seconds()
	case <-pr.ended:
		r.Error = pr.why("it has ended after its restart").Error()
	case <-ctx.Done():
		r.Error = fmt.Errorf("%w, with %d of %d results", context.Cause(ctx), out.len(), b.counts.Len()).Error()
	}
	out.settle(ctx)
	records := out.stop()
	r.Outputs = len(records)
	if err := b.counts.Check(records); err != nil && r.Error == "" {
		r.Error = err.Error()
	}
	return r, nil
}

// fresh is an empty directory for a run's state.
func (b *bench) fresh(name string) (string, error) {
	dir := filepath.Join(b.Dir, name)
	if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(dir+".log")); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}
