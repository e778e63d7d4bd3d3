package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// script is a worker that runs Go functions in place of an SDK, by stage id. It
// plays Workers too, and counts how often it was started.
type script struct {
	stages map[string]func(ctx context.Context, b *Bundle) (*Result, error)

	mu        sync.Mutex
	started   int
	closed    int
	finalized []string
	startErr  error
}

func (s *script) Start(context.Context, *JobInfo, string, string, *pipepb.Environment) (Worker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started++
	if s.startErr != nil {
		return nil, s.startErr
	}
	return &scriptWorker{s}, nil
}

type scriptWorker struct{ *script }

func (s *scriptWorker) Run(ctx context.Context, b *Bundle) (*Result, error) {
	return s.stages[b.Descriptor.GetId()](ctx, b)
}
func (s *scriptWorker) Split(context.Context, string, float64, int64) (*fnpb.ProcessBundleSplitResponse, error) {
	return nil, nil
}
func (s *scriptWorker) Progress(context.Context, string) ([]*pipepb.MonitoringInfo, error) {
	return nil, nil
}
func (s *scriptWorker) Finalize(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finalized = append(s.finalized, id)
	return nil
}
func (s *scriptWorker) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
	return nil
}

func input(b *Bundle) []byte {
	var all []byte
	for data, err := range b.Input {
		if err != nil {
			return nil
		}
		all = append(all, data...)
	}
	return all
}

// testPlan is impulse -> source -> sink: the source makes KVs, the sink reads them
// as in says.
func testPlan(in *graph.Input) *graph.Plan {
	desc := func(id string) *fnpb.ProcessBundleDescriptor { return &fnpb.ProcessBundleDescriptor{Id: id} }
	in.From = []graph.Edge{{Stage: 1, Output: 0}}
	in.Coder, in.Source = "wkv", "src"
	return &graph.Plan{
		Pipeline: &pipepb.Pipeline{Components: &pipepb.Components{Environments: map[string]*pipepb.Environment{"go": {}}}},
		Coders:   testCoders(),
		Stages: []*graph.Stage{
			{ID: "s00", Name: "Impulse", Kind: graph.Impulse, Outputs: []*graph.Output{{Coder: "w", To: []graph.Target{{Stage: 1, SideInput: -1}}}}},
			{Index: 1, ID: "s01", Name: "Make", Kind: graph.SDK, Environment: "go", Descriptor: desc("s01"),
				Input:   &graph.Input{From: []graph.Edge{{}}, Coder: "w", Source: "src"},
				Outputs: []*graph.Output{{Collection: "made", Sink: "out", Coder: "wkv", To: []graph.Target{{Stage: 2, SideInput: -1}}}}},
			{Index: 2, ID: "s02", Name: "Take", Kind: graph.SDK, Environment: "go", Descriptor: desc("s02"), Input: in},
		},
	}
}

func makeKVs(n int) func(context.Context, *Bundle) (*Result, error) {
	return func(_ context.Context, b *Bundle) (*Result, error) {
		input(b)
		for i := range n {
			if err := b.Output("out", kv(int64(i), fmt.Sprint("k", i%5), fmt.Sprint(i))); err != nil {
				return nil, err
			}
		}
		return &Result{}, nil
	}
}

func newTestJob(t *testing.T, plan *graph.Plan, s *script) *Job {
	t.Helper()
	return newTestJobWith(t, plan, s, core.Config{BundleElements: 7})
}

// startFunc is Workers that all are what the function returns.
type startFunc func() Worker

func (f startFunc) Start(context.Context, *JobInfo, string, string, *pipepb.Environment) (Worker, error) {
	return f(), nil
}

func newTestJobWith(t *testing.T, plan *graph.Plan, w Workers, cfg core.Config) *Job {
	t.Helper()
	j, err := New(Config{Workers: w, Core: cfg}, &JobInfo{ID: "job", Log: slog.New(slog.DiscardHandler)}, plan)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func run(t *testing.T, j *Job) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return j.Run(ctx)
}

func TestJobDeliversEachElementOnce(t *testing.T) {
	for name, in := range map[string]*graph.Input{
		"plain":   {},
		"keyed":   {Keyed: true},
		"grouped": {Keyed: true, Grouping: &graph.Grouping{Strategy: &pipepb.WindowingStrategy{OutputTime: pipepb.OutputTime_END_OF_WINDOW}}},
	} {
		t.Run(name, func(t *testing.T) {
			plan := testPlan(in)
			var mu sync.Mutex
			var got []string
			s := &script{}
			var j *Job
			s.stages = map[string]func(context.Context, *Bundle) (*Result, error){
				"s01": makeKVs(100),
				"s02": func(_ context.Context, b *Bundle) (*Result, error) {
					data := input(b)
					mu.Lock()
					defer mu.Unlock()
					if in.Grouping != nil {
						got = append(got, groupsOf(t, j.stages[2].grouper, []core.Block{{Payload: data}})...)
						return &Result{}, nil
					}
					for e := (coders.Element{}); len(data) > 0; {
						got = append(got, string(data[:1]))
						n, err := j.stages[2].input.Next(data, &e)
						if err != nil {
							return nil, err
						}
						data = data[n:]
					}
					return &Result{}, nil
				},
			}
			j = newTestJob(t, plan, s)
			if err := run(t, j); err != nil {
				t.Fatal(err)
			}
			want := 100
			if in.Grouping != nil {
				want = 5
			}
			if len(got) != want {
				t.Errorf("%d elements arrived, want %d", len(got), want)
			}
			if s.started != 1 || s.closed != 1 {
				t.Errorf("%d workers started, %d closed, want one of each", s.started, s.closed)
			}
		})
	}
}

func TestUserErrorFailsTheJobWithItsWholeText(t *testing.T) {
	s := &script{}
	attempts := 0
	s.stages = map[string]func(context.Context, *Bundle) (*Result, error){
		"s01": func(context.Context, *Bundle) (*Result, error) {
			attempts++
			return nil, errors.New("panic: boom\n\tat user.go:17")
		},
	}
	err := run(t, newTestJob(t, testPlan(&graph.Input{}), s))
	if err == nil || !strings.Contains(err.Error(), "panic: boom\n\tat user.go:17") || !strings.Contains(err.Error(), "stage s01") {
		t.Errorf("error %v, want the stage and the user's text", err)
	}
	if attempts != 3 {
		t.Errorf("%d attempts, want 3", attempts)
	}
}

func TestALostWorkerIsReplaced(t *testing.T) {
	s := &script{}
	attempts := 0
	s.stages = map[string]func(context.Context, *Bundle) (*Result, error){
		"s01": func(ctx context.Context, b *Bundle) (*Result, error) {
			if attempts++; attempts <= 4 {
				_ = b.Output("out", kv(1, "half", "done"))
				return nil, fmt.Errorf("stream broke: %w", ErrWorkerLost)
			}
			return makeKVs(3)(ctx, b)
		},
	}
	var seen atomic.Int64
	s.stages["s02"] = func(_ context.Context, b *Bundle) (*Result, error) {
		seen.Add(b.Elements)
		return &Result{}, nil
	}
	plan := testPlan(&graph.Input{Keyed: true})
	j := newTestJob(t, plan, s)
	j.cfg.Core.Slots = 1
	if err := run(t, j); err != nil {
		t.Fatal(err)
	}
	if seen.Load() != 3 {
		t.Errorf("%d elements, want 3: a failed bundle must leave nothing behind", seen.Load())
	}
	if s.started != 5 {
		t.Errorf("%d workers started, want 5", s.started)
	}
}

func TestAWorkerThatWontStartFailsTheJobAtOnce(t *testing.T) {
	s := &script{startErr: errors.New("no such file: worker")}
	err := run(t, newTestJob(t, testPlan(&graph.Input{}), s))
	if err == nil || !strings.Contains(err.Error(), "no such file: worker") {
		t.Errorf("error %v, want the reason", err)
	}
	if s.started != 1 {
		t.Errorf("started %d times, want 1", s.started)
	}
}

func TestACoderThatLies(t *testing.T) {
	s := &script{}
	s.stages = map[string]func(context.Context, *Bundle) (*Result, error){
		"s01": func(_ context.Context, b *Bundle) (*Result, error) {
			return &Result{}, b.Output("out", []byte("this is no windowed value, and it is not short"))
		},
	}
	err := run(t, newTestJob(t, testPlan(&graph.Input{}), s))
	if !errors.Is(err, errCoder) || !strings.Contains(err.Error(), "collection made") {
		t.Errorf("error %v, want one about the coder and the collection", err)
	}
}

func TestAWorkerThatPanics(t *testing.T) {
	s := &script{}
	s.stages = map[string]func(context.Context, *Bundle) (*Result, error){
		"s01": func(context.Context, *Bundle) (*Result, error) { panic("not expected") },
	}
	if err := run(t, newTestJob(t, testPlan(&graph.Input{}), s)); !errors.Is(err, errPanic) {
		t.Errorf("error %v, want a caught panic", err)
	}
}

func TestCancelEndsAHangingBundle(t *testing.T) {
	s := &script{}
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("enough")
	s.stages = map[string]func(context.Context, *Bundle) (*Result, error){
		"s01": func(ctx context.Context, _ *Bundle) (*Result, error) {
			cancel(cause)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		},
	}
	j := newTestJob(t, testPlan(&graph.Input{}), s)
	if err := j.Run(ctx); !errors.Is(err, cause) {
		t.Errorf("error %v, want the cancellation's cause", err)
	}
	if s.closed != 1 {
		t.Errorf("%d workers closed, want 1", s.closed)
	}
}

func TestResidualsRunAgain(t *testing.T) {
	s := &script{}
	runs := 0
	s.stages = map[string]func(context.Context, *Bundle) (*Result, error){
		"s01": func(_ context.Context, b *Bundle) (*Result, error) {
			in := input(b)
			if runs++; runs < 4 {
				return &Result{Residuals: []*fnpb.DelayedBundleApplication{{Application: &fnpb.BundleApplication{Element: in}}}}, nil
			}
			return &Result{Finalize: true}, nil
		},
	}
	if err := run(t, newTestJob(t, testPlan(&graph.Input{}), s)); err != nil {
		t.Fatal(err)
	}
	if runs != 4 {
		t.Errorf("ran %d times, want 4", runs)
	}
	if !slices.Equal(s.finalized, []string{"job-s01-b5"}) {
		t.Errorf("finalized %v, want the last bundle", s.finalized)
	}
}
