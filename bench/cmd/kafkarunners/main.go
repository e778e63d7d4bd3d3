// Kafkarunners runs one program that reads from and writes to Kafka on several runners, and checks
// each result. Nothing but flags chooses the runner.
//
//	kafkarunners --brokers host:port --runners embedded,prism-inprocess
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/summerbeam/summerbeam/bench/internal/peer"
	"github.com/summerbeam/summerbeam/bench/kafka/clicks"
)

const topicIn = "clicks"

type flags struct {
	Brokers    string        `help:"Brokers of the cluster; a fake one in this process if there are none."`
	Runners    []string      `help:"Runners: embedded, served, prism-inprocess, flink." default:"embedded,served,prism-inprocess"`
	Records    int           `help:"Records to read." default:"20000"`
	Users      int           `help:"Users that they are of." default:"500"`
	Counts     string        `help:"The program." default:"bin/kafkacounts"`
	Summerbeam string        `help:"Summerbeam's server." default:"bin/summerbeam"`
	FlinkJars  string        `help:"Class path of Flink's job server." default:".cache/bench/flink"`
	Dir        string        `help:"Directory for the runs' files." default:".cache/kafka/runners"`
	Timeout    time.Duration `help:"How long a run may take." default:"10m"`
}

func main() {
	var f flags
	kong.Parse(&f, kong.Description("Runs one program on several runners, from Kafka to Kafka."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := f.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "kafkarunners:", err)
		os.Exit(1)
	}
}

// trial is the program on a runner.
type trial struct {
	runner    peer.Peer
	unbounded bool
	// once is for runners that can do it. On Prism a key's elements come in any order, and the job fails for it.
	once bool
}

func (t trial) name() string {
	if t.unbounded {
		return t.runner.Name() + ", unbounded read"
	}
	return t.runner.Name() + ", bounded read"
}

func (f *flags) run(ctx context.Context) error {
	if f.Brokers == "" {
		fake, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			return err
		}
		defer fake.Close()
		f.Brokers = strings.Join(fake.ListenAddrs(), ",")
	}
	runners, err := peer.Select(peer.Known(peer.Programs{Summerbeam: f.Summerbeam, FlinkJars: f.FlinkJars}), f.Runners)
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(f.Brokers, ",")...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer cl.Close()
	size := clicks.Size{Records: f.Records, Users: f.Users, Span: 10 * time.Minute}
	if err := fill(ctx, cl, size); err != nil {
		return err
	}
	want := size.Counts()
	fmt.Printf("%d records of %d users, %d results.\n", f.Records, f.Users, want.Len())
	var failed []error
	for _, r := range runners {
		once := r.Name() == "embedded" || strings.HasPrefix(r.Name(), "served")
		trials := []trial{{runner: r, once: once}}
		// Flink's portable runner asks no source for a checkpoint: one that never ends emits nothing.
		if r.Name() != "flink" {
			trials = append(trials, trial{runner: r, once: once, unbounded: true})
		}
		for _, t := range trials {
			began := time.Now()
			if err := f.try(ctx, cl, t, want); err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", t.name(), err))
				fmt.Printf("%-40s FAILED\n", t.name())
				continue
			}
			fmt.Printf("%-40s right, in %.1f s\n", t.name(), time.Since(began).Seconds())
		}
	}
	return errors.Join(failed...)
}

// forever keeps records, which are years old by their times: a real broker would soon delete them.
var forever = map[string]*string{"retention.ms": kadm.StringPtr("-1")}

// fill makes the topic that is read.
func fill(ctx context.Context, cl *kgo.Client, size clicks.Size) error {
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, clicks.Partitions, 1, forever, topicIn); err != nil {
		return fmt.Errorf("making topic %s: %w", topicIn, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	size.Each(func(r *kgo.Record) {
		r.Topic = topicIn
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				cancel(err)
			}
		})
	})
	if err := cl.Flush(ctx); err != nil {
		return fmt.Errorf("filling topic %s: %w", topicIn, context.Cause(ctx))
	}
	return nil
}

// try runs the program, and checks what it writes.
func (f *flags) try(ctx context.Context, cl *kgo.Client, t trial, want *clicks.Counts) error {
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	to := fmt.Sprintf("counts-%s-%v", t.runner.Name(), t.unbounded)
	dir := filepath.Join(f.Dir, to)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 2, 1, forever, to); err != nil {
		return err
	}
	instance, err := t.runner.Start(ctx, dir)
	if err != nil {
		return err
	}
	defer instance.Stop()
	args := append([]string{"--brokers=" + f.Brokers, "--from=" + topicIn, "--to=" + to, fmt.Sprintf("--bounded=%v", !t.unbounded), fmt.Sprintf("--exactly_once=%v", t.once)}, instance.Flags...)
	log, err := os.Create(filepath.Join(dir, "program.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(f.Counts, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }()
	results, err := f.results(ctx, to, want.Len(), t.unbounded, ended)
	if err != nil {
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w; the program's last words: %s", err, said[max(0, len(said)-2000):])
	}
	return want.Check(slices.DeleteFunc(results, clicks.OfEnd))
}

// results reads what is written until the program has ended, or for one without an end until so many are there and
// no more come.
func (f *flags) results(ctx context.Context, topic string, want int, unbounded bool, ended <-chan error) ([]*kgo.Record, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(f.Brokers, ",")...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var out []*kgo.Record
	for over := false; ; {
		const quiet = 2 * time.Second // what comes twice comes soon
		polling, cancel := context.WithTimeout(ctx, quiet)
		records := cl.PollFetches(polling).Records()
		cancel()
		out = slices.Concat(out, records)
		if len(records) == 0 && (over || unbounded && len(out) >= want) {
			return out, nil
		}
		select {
		case err := <-ended:
			if err != nil || unbounded {
				return nil, fmt.Errorf("the program has ended with %d of %d results: %v", len(out), want, err)
			}
			over, ended = true, nil
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d results: %w", len(out), want, ctx.Err())
		default:
		}
	}
}
