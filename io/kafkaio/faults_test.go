package kafkaio_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/summerbeam/summerbeam/io/kafkaio"
	"github.com/summerbeam/summerbeam/runner"
	"github.com/summerbeam/summerbeam/runner/beamrunner"
)

// running is a job without an end.
type running struct {
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
}

// start runs a pipeline that copies topic "in" to "out", in upper case, until the test or stop ends it.
func start(t *testing.T, cluster kafkaio.Cluster, read []kafkaio.ReadOption, write ...kafkaio.WriteOption) *running {
	t.Helper()
	p, s := beam.NewPipelineWithRoot()
	in := kafkaio.Read(s, cluster, append(read, kafkaio.Topics("in"), kafkaio.DiscoverEvery(100*time.Millisecond))...)
	kafkaio.Write(s, cluster, beam.ParDo(s, upper, in), append(write, kafkaio.Topic("out"))...)
	return run(t, p)
}

// run runs a pipeline until the test or stop ends it.
func run(t *testing.T, p *beam.Pipeline) *running {
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, cancel: cancel, ended: make(chan error, 1)}
	go func() {
		_, err := beamrunner.Execute(ctx, p)
		r.ended <- err
	}()
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// stop ends the job, unless it has ended by itself, and returns its error.
func (r *running) stop() error {
	r.cancel()
	err := <-r.ended
	r.ended <- err
	return err
}

// until waits until topic "out" has these values, in any order.
func (r *running) until(b *broker, want ...string) {
	r.t.Helper()
	slices.Sort(want)
	var got []string
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-r.ended:
			r.ended <- err
			r.t.Fatalf("the job has ended: %v", err)
		default:
		}
		if got = b.all("out"); slices.Equal(got, want) {
			return
		}
	}
	r.t.Fatalf("got %q, want %q", got, want)
}

// fails waits until the job has failed, with an error that has this text.
func (r *running) fails(text string) {
	r.t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		if err == nil || !strings.Contains(err.Error(), text) {
			r.t.Errorf("got %v, want to read %q", err, text)
		}
	case <-time.After(2 * time.Minute):
		r.t.Errorf("the job runs on, want it to fail with %q", text)
	}
}

// open connects to a broker that is made with options.
func open(t testing.TB, opts ...kfake.Opt) *broker {
	t.Helper()
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &broker{t: t, fake: c, cluster: kafkaio.Cluster{Brokers: c.ListenAddrs()}, cl: cl}
}

// freePort is one that nobody listens at.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestUnknownTopicUnbounded(t *testing.T) {
	b := newBroker(t, 1, "out")
	start(t, b.cluster, nil).fails("topic in: it is not there")
}

// TestNoPermission: a user who may not read, or write, hears what to grant.
func TestNoPermission(t *testing.T) {
	allow := func(topic string, op kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: topic, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
	}
	for name, c := range map[string]struct {
		acls []kfake.ACL
		want string
	}{
		"nothing":       {nil, "grant READ and DESCRIBE"},
		"describe only": {[]kfake.ACL{allow("in", kmsg.ACLOperationDescribe)}, "grant READ and DESCRIBE"},
		"no write":      {[]kfake.ACL{allow("in", kmsg.ACLOperationRead), allow("out", kmsg.ACLOperationDescribe)}, "grant WRITE and DESCRIBE"},
	} {
		t.Run(name, func(t *testing.T) {
			c2, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out"), kfake.EnableSASL(), kfake.EnableACLs(),
				kfake.Superuser("PLAIN", "admin", "admin"), kfake.User("PLAIN", "ann", "pw", c.acls...))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c2.Close)
			t.Setenv("KAFKAIO_TEST_ADMIN", "admin")
			t.Setenv("KAFKAIO_TEST_ANN", "pw")
			as := func(user, env string) kafkaio.Cluster {
				return kafkaio.Cluster{Brokers: c2.ListenAddrs(), SASL: &kafkaio.SASL{Mechanism: "PLAIN", User: user, Password: kafkaio.Secret{Env: env}}}
			}
			p, s := beam.NewPipelineWithRoot()
			kafkaio.Write(s, as("admin", "KAFKAIO_TEST_ADMIN"), beam.Create(s, kafkaio.Record{Value: []byte("a")}), kafkaio.Topic("in"))
			if _, err := beamrunner.Execute(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			start(t, as("ann", "KAFKAIO_TEST_ANN"), nil).fails(c.want)
		})
	}
}

// TestBrokerDownAtStart: a job waits for a broker that isn't there yet.
func TestBrokerDownAtStart(t *testing.T) {
	port := freePort(t)
	job := start(t, kafkaio.Cluster{Brokers: []string{fmt.Sprintf("127.0.0.1:%d", port)}}, nil)
	time.Sleep(300 * time.Millisecond) // it has asked by then, most likely
	b := open(t, kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(1, "in", "out"))
	b.produce(rec("in", 0, "k", "a", 1000))
	job.until(b, "A")
}

// TestBrokerGoneAndBack: a job goes on when its broker is back, each record once.
func TestBrokerGoneAndBack(t *testing.T) {
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.Ports(freePort(t)), kfake.DataDir(t.TempDir()), kfake.SeedTopics(1, "in", "out")}
	b := open(t, opts...)
	b.produce(rec("in", 0, "k", "a", 1000))
	job := start(t, b.cluster, nil, kafkaio.ExactlyOnce("test"), kafkaio.Shards(1))
	job.until(b, "A")
	b.fake.Close()
	time.Sleep(300 * time.Millisecond)
	b = open(t, opts...)
	b.produce(rec("in", 0, "k", "b", 1000))
	job.until(b, "A", "B")
}

// TestLeaderMoves: a job follows its partitions to other brokers.
func TestLeaderMoves(t *testing.T) {
	b := open(t, kfake.NumBrokers(3), kfake.SeedTopics(1, "in", "out"))
	job := start(t, b.cluster, nil)
	var want []string
	for i := range 4 {
		v := fmt.Sprintf("v%d", i)
		b.produce(rec("in", 0, "k", v, 1000))
		want = append(want, strings.ToUpper(v))
		job.until(b, want...)
		for _, topic := range []string{"in", "out"} {
			if err := b.fake.MoveTopicPartition(topic, 0, (b.fake.LeaderFor(topic, 0)+1)%3); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// recreate deletes a topic and makes it again, with other records, which another client writes: this one knows the
// old topic.
func (b *broker) recreate(topic string, records ...*kgo.Record) {
	b.t.Helper()
	if err := b.fake.DeleteTopic(topic); err != nil {
		b.t.Fatal(err)
	}
	if err := b.fake.CreateTopic(topic, 1, nil); err != nil {
		b.t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.fake.ListenAddrs()...))
	if err != nil {
		b.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(b.t.Context(), records...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

// TestTopicRecreated: an offset of a topic that is gone is not taken for one of its namesake, be it while
// the job runs or while it doesn't; who wants to goes on with the new one, from its beginning.
func TestTopicRecreated(t *testing.T) {
	for _, live := range []bool{true, false} {
		for _, follow := range []bool{false, true} {
			t.Run(fmt.Sprintf("live=%v, follow=%v", live, follow), func(t *testing.T) {
				setFlag(t, "summerbeam_data_dir", t.TempDir())
				setFlag(t, "job_name", "kafka")
				b := newBroker(t, 1, "in", "out")
				b.produce(rec("in", 0, "k", "a", 1000), rec("in", 0, "k", "b", 1000))
				opts := []kafkaio.ReadOption{kafkaio.TellGroup("watchers")}
				if follow {
					opts = append(opts, kafkaio.FollowRecreated())
				}
				job := start(t, b.cluster, opts)
				job.until(b, "A", "B")
				if !live {
					for !b.told("watchers", 2) { // durable, then
						time.Sleep(20 * time.Millisecond)
					}
					_ = job.stop()
				}
				b.recreate("in", rec("in", 0, "k", "c", 1000), rec("in", 0, "k", "d", 1000), rec("in", 0, "k", "e", 1000))
				if !live {
					job = start(t, b.cluster, opts)
				}
				if follow {
					job.until(b, "A", "B", "C", "D", "E")
				} else {
					job.fails("was deleted and made again")
				}
			})
		}
	}
}

// TestDrain: a job that is drained reads no more, and ends.
func TestDrain(t *testing.T) {
	b := newBroker(t, 1, "in", "out")
	b.produce(rec("in", 0, "k", "a", 1000))
	p, s := beam.NewPipelineWithRoot()
	in := kafkaio.Read(s, b.cluster, kafkaio.Topics("in"))
	kafkaio.Write(s, b.cluster, beam.ParDo(s, upper, in), kafkaio.Topic("out"), kafkaio.ExactlyOnce("test"))
	drain := make(chan struct{})
	job := &running{t: t, ended: make(chan error, 1)}
	go func() {
		_, err := beamrunner.ExecuteWith(t.Context(), p, func(c *runner.Config) { c.Drain = drain })
		job.ended <- err
	}()
	job.until(b, "A")
	close(drain)
	select {
	case err := <-job.ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the job reads on after a minute")
	}
}

// TestReadCommitted: records of transactions that were aborted are left out, also at the end of the
// partition; without the option they are there.
func TestReadCommitted(t *testing.T) {
	b := newBroker(t, 1, "in", "out")
	b.produce(rec("in", 0, "k", "plain", 1000))
	tx, err := kgo.NewClient(kgo.SeedBrokers(b.fake.ListenAddrs()...), kgo.TransactionalID("test"), kgo.DefaultProduceTopic("in"))
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	for _, c := range []struct {
		value string
		end   kgo.TransactionEndTry
	}{{"aborted", kgo.TryAbort}, {"committed", kgo.TryCommit}, {"aborted at the end", kgo.TryAbort}} {
		err := errors.Join(tx.BeginTransaction(), tx.ProduceSync(t.Context(), kgo.StringRecord(c.value)).FirstErr(), tx.EndTransaction(t.Context(), c.end))
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, isolated := range []bool{true, false} {
		opts := []kafkaio.ReadOption{kafkaio.Topics("in"), kafkaio.Until(kafkaio.Latest())}
		want := []string{"ABORTED", "ABORTED AT THE END", "COMMITTED", "PLAIN"}
		if isolated {
			opts = append(opts, kafkaio.ReadCommitted())
			want = []string{"COMMITTED", "PLAIN"}
		}
		out := fmt.Sprintf("out-%v", isolated)
		if _, err := kadm.NewClient(b.cl).CreateTopic(t.Context(), 1, 1, nil, out); err != nil {
			t.Fatal(err)
		}
		p, s := beam.NewPipelineWithRoot()
		kafkaio.Write(s, b.cluster, beam.ParDo(s, upper, kafkaio.Read(s, b.cluster, opts...)), kafkaio.Topic(out))
		if _, err := beamrunner.Execute(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if got := b.all(out); !slices.Equal(got, want) {
			t.Errorf("isolated %v: got %q, want %q", isolated, got, want)
		}
	}
}

// TestCompacted: offsets that compaction has taken are no reason to stop, or to wait.
func TestCompacted(t *testing.T) {
	b := newBroker(t, 1, "out")
	if err := b.fake.CreateTopic("in", 1, map[string]string{"cleanup.policy": "compact"}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		b.produce(rec("in", 0, fmt.Sprintf("k%d", i/4), fmt.Sprint("v", i), time.Now().UnixMilli()))
	}
	b.fake.Compact()
	p, s := beam.NewPipelineWithRoot()
	in := kafkaio.Read(s, b.cluster, kafkaio.Topics("in"), kafkaio.Until(kafkaio.Latest()))
	kafkaio.Write(s, b.cluster, beam.ParDo(s, upper, in), kafkaio.Topic("out"))
	if _, err := beamrunner.Execute(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := b.all("out"); !slices.Equal(got, []string{"V3", "V7", "V8", "V9"}) {
		t.Errorf("got %q, want the last value of each key, and V9, which is not compacted yet", got)
	}
}
