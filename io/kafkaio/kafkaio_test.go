package kafkaio_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/summerbeam/summerbeam/io/kafkaio"
	"github.com/summerbeam/summerbeam/runner/beamrunner"
)

func init() {
	register.Function1x1(text)
	register.Function1x1(upper)
	register.DoFn1x0[kafkaio.Record](&note{})
}

func text(r kafkaio.Record) string {
	return fmt.Sprintf("%s/%d@%d %s=%s tombstone=%v headers=%v", r.Topic, r.Partition, r.Offset, r.Key, r.Value, r.Tombstone, r.Headers)
}

func upper(r kafkaio.Record) kafkaio.Record {
	return kafkaio.Record{Key: r.Key, NoKey: r.NoKey, Value: []byte(strings.ToUpper(string(r.Value))), Millis: r.Millis, Headers: r.Headers}
}

// note writes records' values to a file, each in one write.
type note struct{ File string }

func (f *note) ProcessElement(r kafkaio.Record) {
	file, err := os.OpenFile(f.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	if _, err := fmt.Fprintf(file, "%s\n", r.Value); err != nil {
		panic(err)
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	beam.Init()
	os.Exit(m.Run())
}

// broker is a cluster in this process.
type broker struct {
	t       testing.TB
	fake    *kfake.Cluster
	cluster kafkaio.Cluster
	cl      *kgo.Client
}

func newBroker(t testing.TB, partitions int32, topics ...string) *broker {
	t.Helper()
	return open(t, kfake.NumBrokers(1), kfake.SeedTopics(partitions, topics...))
}

func (b *broker) produce(records ...*kgo.Record) {
	b.t.Helper()
	if err := b.cl.ProduceSync(b.t.Context(), records...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

func rec(topic string, partition int32, key, value string, millis int64) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: []byte(value), Timestamp: time.UnixMilli(millis)}
}

// all reads a topic to its end, as a read_committed consumer.
func (b *broker) all(topic string) (values []string) {
	b.t.Helper()
	ends, err := kadm.NewClient(b.cl).ListCommittedOffsets(b.t.Context(), topic)
	if err != nil {
		b.t.Fatal(err)
	}
	left := map[int32]int64{}
	parts := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
			parts[o.Partition] = kgo.NewOffset().AtStart()
		}
	})
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.fake.ListenAddrs()...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: parts}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		b.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	for len(left) > 0 {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			b.t.Fatalf("topic %s: still to read %v", topic, left)
		}
		f.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				values = append(values, string(r.Value))
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	slices.Sort(values)
	return values
}

// on runs a test on Summerbeam, embedded, and on Prism.
func on(t *testing.T, test func(t *testing.T, run func(context.Context, *beam.Pipeline) error)) {
	for name, execute := range map[string]func(context.Context, *beam.Pipeline) (beam.PipelineResult, error){
		"summerbeam": beamrunner.Execute, "prism": prism.Execute,
	} {
		t.Run(name, func(t *testing.T) {
			test(t, func(ctx context.Context, p *beam.Pipeline) error {
				// Prism's runner leaves its endpoint in the flag.
				defer func() { *jobopts.Endpoint = "" }()
				_, err := execute(ctx, p)
				return err
			})
		})
	}
}

func TestBoundedRead(t *testing.T) {
	on(t, func(t *testing.T, run func(context.Context, *beam.Pipeline) error) {
		b := newBroker(t, 2, "in")
		first := rec("in", 0, "a", "1", 1000)
		first.Headers = []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}
		b.produce(first, rec("in", 0, "b", "2", 2000), rec("in", 1, "c", "3", 3000))
		b.produce(&kgo.Record{Topic: "in", Partition: 1, Key: []byte("d"), Timestamp: time.UnixMilli(4000)})
		p, s := beam.NewPipelineWithRoot()
		got := beam.ParDo(s, text, kafkaio.Read(s, b.cluster, kafkaio.Topics("in"), kafkaio.Until(kafkaio.Latest())))
		passert.Equals(s, got,
			"in/0@0 a=1 tombstone=false headers=[{h [118]}]", "in/0@1 b=2 tombstone=false headers=[]",
			"in/1@0 c=3 tombstone=false headers=[]", "in/1@1 d= tombstone=true headers=[]")
		if err := run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBoundedReadFromATime(t *testing.T) {
	b := newBroker(t, 1, "in")
	for i := range int64(10) {
		b.produce(rec("in", 0, "k", fmt.Sprint(i), 1000*i))
	}
	p, s := beam.NewPipelineWithRoot()
	got := beam.ParDo(s, text, kafkaio.Read(s, b.cluster, kafkaio.Topics("in"),
		kafkaio.From(kafkaio.AtTime(time.UnixMilli(3000))), kafkaio.Until(kafkaio.AtTime(time.UnixMilli(5000)))))
	passert.Equals(s, got, "in/0@3 k=3 tombstone=false headers=[]", "in/0@4 k=4 tombstone=false headers=[]")
	if _, err := beamrunner.Execute(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func TestUnknownTopic(t *testing.T) {
	b := newBroker(t, 1, "in")
	p, s := beam.NewPipelineWithRoot()
	kafkaio.Read(s, b.cluster, kafkaio.Topics("nowhere"), kafkaio.Until(kafkaio.Latest()))
	_, err := beamrunner.Execute(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "topic nowhere") {
		t.Fatalf("got %v, want to hear which topic is not there", err)
	}
}

func TestOffsetsOutOfRange(t *testing.T) {
	b := newBroker(t, 1, "in")
	for i := range 6 {
		b.produce(rec("in", 0, "k", fmt.Sprint(i), 1000))
	}
	if err := b.fake.DeleteRecords("in", 0, 4); err != nil {
		t.Fatal(err)
	}
	read := func(opts ...kafkaio.ReadOption) (*beam.Pipeline, beam.PCollection) {
		p, s := beam.NewPipelineWithRoot()
		opts = append(opts, kafkaio.Topics("in"), kafkaio.From(kafkaio.At(1)), kafkaio.Until(kafkaio.At(6)))
		got := beam.ParDo(s, text, kafkaio.Read(s, b.cluster, opts...))
		if len(opts) > 3 {
			passert.Equals(s, got, "in/0@4 k=4 tombstone=false headers=[]", "in/0@5 k=5 tombstone=false headers=[]")
		}
		return p, got
	}
	p, _ := read()
	if _, err := beamrunner.Execute(t.Context(), p); err == nil || !strings.Contains(err.Error(), "out of range") {
		t.Errorf("got %v, want to hear that the offset is gone", err)
	}
	p, _ = read(kafkaio.IfOutOfRange(kafkaio.Earliest()))
	if _, err := beamrunner.Execute(t.Context(), p); err != nil {
		t.Errorf("going on with the first record: %v", err)
	}
}

func TestWrite(t *testing.T) {
	for _, exactly := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly=%v", exactly), func(t *testing.T) {
			b := newBroker(t, 2, "in", "out")
			var want []string
			for i := range 200 {
				b.produce(rec("in", int32(i%2), fmt.Sprintf("key%d", i%7), fmt.Sprintf("v%03d", i), int64(i)))
				want = append(want, fmt.Sprintf("V%03d", i))
			}
			p, s := beam.NewPipelineWithRoot()
			in := kafkaio.Read(s, b.cluster, kafkaio.Topics("in"), kafkaio.Until(kafkaio.Latest()))
			opts := []kafkaio.WriteOption{kafkaio.Topic("out")}
			if exactly {
				opts = append(opts, kafkaio.ExactlyOnce("test"), kafkaio.Shards(3))
			}
			kafkaio.Write(s, b.cluster, beam.ParDo(s, upper, in), opts...)
			if _, err := beamrunner.Execute(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if got := b.all("out"); !slices.Equal(got, want) {
				t.Errorf("wrote %d records %v, want %d", len(got), got, len(want))
			}
		})
	}
}

// TestWriteOfWindows: the numbers are the job's, whatever windows the records are in.
func TestWriteOfWindows(t *testing.T) {
	b := newBroker(t, 1, "in", "out")
	var want []string
	for i := range 300 {
		b.produce(rec("in", 0, fmt.Sprintf("key%d", i%7), fmt.Sprintf("v%03d", i), int64(i)))
		want = append(want, fmt.Sprintf("V%03d", i))
	}
	p, s := beam.NewPipelineWithRoot()
	in := kafkaio.Read(s, b.cluster, kafkaio.Topics("in"), kafkaio.Until(kafkaio.Latest()))
	windowed := beam.WindowInto(s, window.NewFixedWindows(10*time.Millisecond), beam.ParDo(s, upper, in))
	kafkaio.Write(s, b.cluster, windowed, kafkaio.Topic("out"), kafkaio.ExactlyOnce("test"), kafkaio.Shards(2))
	if _, err := beamrunner.Execute(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := b.all("out"); !slices.Equal(got, want) {
		t.Errorf("wrote %d records %v, want %d", len(got), got, len(want))
	}
}

// TestGoesOnByItsName reads without an end and writes exactly once, is stopped and
// started again, and sees a partition that was added.
func TestGoesOnByItsName(t *testing.T) {
	b := newBroker(t, 2, "in", "out")
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "seen")
	setFlag(t, "summerbeam_data_dir", dir)
	setFlag(t, "job_name", "kafka")
	life := func(until int) {
		t.Helper()
		p, s := beam.NewPipelineWithRoot()
		in := kafkaio.Read(s, b.cluster, kafkaio.Topics("in"), kafkaio.DiscoverEvery(100*time.Millisecond), kafkaio.TellGroup("watchers"))
		beam.ParDo0(s, &note{File: file}, in)
		kafkaio.Write(s, b.cluster, beam.ParDo(s, upper, in), kafkaio.Topic("out"), kafkaio.ExactlyOnce("test"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := beamrunner.Execute(ctx, p)
			ended <- err
		}()
		for deadline := time.Now().Add(30 * time.Second); len(b.all("out")) < until; time.Sleep(20 * time.Millisecond) {
			select {
			case err := <-ended:
				t.Fatalf("the job has ended: %v", err)
			default:
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d records after 30 s, want %d", len(b.all("out")), until)
			}
		}
		cancel()
		<-ended
	}
	var want []string
	send := func(partition int32, n int) {
		for range n {
			b.produce(rec("in", partition, "key", fmt.Sprintf("v%04d", len(want)), int64(len(want))))
			want = append(want, fmt.Sprintf("V%04d", len(want)))
		}
	}
	send(0, 30)
	life(30)
	send(1, 30)
	life(60)
	if _, err := kadm.NewClient(b.cl).CreatePartitions(t.Context(), 1, "in"); err != nil {
		t.Fatal(err)
	}
	b.cl.ForceMetadataRefresh()
	time.Sleep(200 * time.Millisecond)
	send(2, 30)
	life(90)
	if got := b.all("out"); !slices.Equal(got, want) {
		t.Errorf("wrote %d records %v, want %d, each once", len(got), got, len(want))
	}
	offsets, err := kadm.NewClient(b.cl).FetchOffsets(t.Context(), "watchers")
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := offsets.Lookup("in", 0); !ok || o.At != 30 {
		t.Errorf("the group is told %v of partition 0, want 30", o)
	}
}

// setFlag sets a flag as the command line does, for the test.
func setFlag(t testing.TB, name, value string) {
	t.Helper()
	old := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = flag.Set(name, old)
		beam.PipelineOptions.Set(name, old) // running a pipeline has made an option of it
	})
}
