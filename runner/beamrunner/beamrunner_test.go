package beamrunner

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"google.golang.org/grpc"

	"github.com/summerbeam/summerbeam/fnapi/inproc"
	"github.com/summerbeam/summerbeam/runner/engine"
)

func TestMain(m *testing.M) {
	beam.Init()
	os.Exit(m.Run())
}

func init() {
	register.Function3x0(pair)
	register.Function2x2(size)
	register.Function2x1(refuse)
	register.Function3x0(lookup)
	register.Emitter2[string, int]()
	register.Emitter1[string]()
	register.Iter1[int]()
}

func pair(ctx context.Context, word string, emit func(string, int)) {
	beam.NewCounter("test", "words").Inc(ctx, 1)
	emit(word, len(word))
}

func size(word string, lengths func(*int) bool) (string, int) {
	n := 0
	for l := 0; lengths(&l); {
		n += l
	}
	return word, n
}

func refuse(_ context.Context, word string) error {
	return errors.New("I don't like " + word)
}

func lookup(word string, side func(string) func(*int) bool, emit func(string)) {
	n := 0
	if side(word)(&n) {
		emit(word)
	}
}

// set sets a flag's variable for the test.
func set[T any](t *testing.T, v *T, to T) {
	old := *v
	*v = to
	t.Cleanup(func() { *v = old })
}

func execute(t *testing.T, p *beam.Pipeline) (beam.PipelineResult, error) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	return beam.Run(ctx, Name, p)
}

func TestEmbedded(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	words := beam.Create(s, "a", "bb", "a", "ccc")
	pairs := beam.ParDo(s, pair, words)
	sums := beam.ParDo(s, size, beam.GroupByKey(s, pairs))
	passert.Equals(s, beam.DropValue(s, sums), "a", "bb", "ccc")
	passert.Sum(s, beam.DropKey(s, sums), "lengths", 3, 7)
	found := beam.ParDo(s, lookup, beam.Create(s, "bb", "nobody"), beam.SideInput{Input: sums})
	passert.Equals(s, found, "bb")
	res, err := execute(t, p)
	if err != nil {
		t.Fatal(err)
	}
	if res.JobID() == "" {
		t.Error("the result has no job id")
	}
	var got int64
	for _, c := range res.Metrics().Query(func(r metrics.SingleResult) bool { return r.Name() == "words" }).Counters() {
		got += c.Result()
	}
	if got != 4 {
		t.Errorf("the counter is %d, want 4", got)
	}
}

func TestEmbeddedFailure(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	beam.ParDo0(s, refuse, beam.Create(s, "mondays"))
	if _, err := execute(t, p); err == nil || !strings.Contains(err.Error(), "I don't like mondays") {
		t.Errorf("the error doesn't tell what user code has said: %v", err)
	}
}

func TestRefused(t *testing.T) {
	pipeline := func() *beam.Pipeline {
		p, s := beam.NewPipelineWithRoot()
		beam.ParDo0(s, refuse, beam.Create(s, "mondays"))
		return p
	}
	t.Run("async", func(t *testing.T) {
		set(t, jobopts.Async, true)
		if _, err := execute(t, pipeline()); err == nil || !strings.Contains(err.Error(), "--async") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("memory", func(t *testing.T) {
		set(t, memory, "much")
		if _, err := execute(t, pipeline()); err == nil || !strings.Contains(err.Error(), "--summerbeam_memory") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("store", func(t *testing.T) {
		set(t, store, "paper")
		if _, err := execute(t, pipeline()); err == nil || !strings.Contains(err.Error(), "paper") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("empty", func(t *testing.T) {
		if _, err := execute(t, beam.NewPipeline()); err == nil || !strings.Contains(err.Error(), "pipeline") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("strict", func(t *testing.T) {
		set(t, jobopts.Strict, true)
		p, s := beam.NewPipelineWithRoot()
		beam.ParDo(s, func(w string) string { return w }, beam.Create(s, "not registered"))
		if _, err := execute(t, p); err == nil || !strings.Contains(err.Error(), "strict") {
			t.Errorf("got %v", err)
		}
	})
}

// What goes to the runner is what a client sends, for an environment that package
// inproc takes.
func TestJob(t *testing.T) {
	set(t, jobopts.JobName, "named")
	set(t, jobopts.Experiments, "one,two")
	p, s := beam.NewPipelineWithRoot()
	beam.ParDo(s, pair, beam.Create(s, "a"))
	j, err := newJob(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	envs := j.pipeline.GetComponents().GetEnvironments()
	if len(envs) != 1 {
		t.Fatalf("%d environments, want 1", len(envs))
	}
	for id, e := range envs {
		if e.GetUrn() != inproc.EnvironmentURN || len(e.GetDependencies()) > 0 {
			t.Errorf("environment %v", e)
		}
		w, err := inproc.Workers{}.Start(context.Background(), &engine.JobInfo{}, "w", id, e)
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	if j.name != "named" {
		t.Errorf("name %q", j.name)
	}
	fields := j.options.GetFields()
	if got := fields["beam:option:app_name:v1"].GetStringValue(); got != "named" {
		t.Errorf("app name %q", got)
	}
	if got := len(fields["beam:option:experiments:v1"].GetListValue().GetValues()); got != 3 {
		t.Errorf("%d experiments, want the two and beam_fn_api", got)
	}
	if fields["beam:option:go_options:v1"].GetStructValue().GetFields()["options"] == nil {
		t.Errorf("no Go options in %v", j.options)
	}
}

// With an endpoint the job goes there, and comes back to this process.
func TestEndpoint(t *testing.T) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	fake := &jobService{}
	srv := grpc.NewServer()
	jobpb.RegisterJobServiceServer(srv, fake)
	go srv.Serve(l)
	defer srv.Stop()
	set(t, jobopts.Endpoint, l.Addr().String())
	set(t, jobopts.EnvironmentType, "")
	p, s := beam.NewPipelineWithRoot()
	beam.ParDo(s, pair, beam.Create(s, "a"))
	if _, err := execute(t, p); err == nil || !strings.Contains(err.Error(), "not today") {
		t.Errorf("got %v", err)
	}
	for _, e := range fake.pipeline.GetComponents().GetEnvironments() {
		if e.GetUrn() != "beam:env:external:v1" {
			t.Errorf("environment %s, want an external one for LOOPBACK", e.GetUrn())
		}
	}
	if fake.pipeline == nil {
		t.Error("the pipeline has not arrived")
	}
}

// jobService refuses the job it is given.
type jobService struct {
	jobpb.UnimplementedJobServiceServer
	pipeline *pipepb.Pipeline
}

func (s *jobService) Prepare(_ context.Context, req *jobpb.PrepareJobRequest) (*jobpb.PrepareJobResponse, error) {
	s.pipeline = req.GetPipeline()
	return nil, errors.New("not today")
}

func TestParseBytes(t *testing.T) {
	for in, want := range map[string]int64{"": 0, "17": 17, "1k": 1024, "512MiB": 512 << 20, "2GB": 2e9, "1.5 GiB": 3 << 29} {
		if got, err := parseBytes(in); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"much", "-1", "0", "1XB", "MiB", "NaN", "1e300", "99999999TiB"} {
		if got, err := parseBytes(in); err == nil {
			t.Errorf("%q is %d, want an error", in, got)
		}
	}
}
