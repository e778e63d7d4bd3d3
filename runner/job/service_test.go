package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

func wantCode(t *testing.T, err error, c codes.Code, parts ...string) {
	t.Helper()
	if status.Code(err) != c {
		t.Errorf("got %v, want code %v", err, c)
	}
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v doesn't say %q", err, part)
		}
	}
}

func TestJobRunsToItsEnd(t *testing.T) {
	f := newFixture(t)
	info := &pipepb.MonitoringInfo{Urn: "beam:metric:element_count:v1"}
	f.engine.metrics = func() (a, c []*pipepb.MonitoringInfo) {
		return []*pipepb.MonitoringInfo{info, info}, []*pipepb.MonitoringInfo{info}
	}
	var seen *engine.JobInfo
	f.engine.run = func(_ context.Context, info *engine.JobInfo) error {
		seen = info
		info.Log.Info("not for the user")
		info.Log.Warn("a warning", "n", 1)
		return nil
	}
	p := pipeline()
	options, _ := structpb.NewStruct(map[string]any{"beam:option:x:v1": "y"})
	resp, err := f.jobs.Prepare(f.ctx, &jobpb.PrepareJobRequest{JobName: "wordcount", Pipeline: p, PipelineOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	id := resp.GetPreparationId()
	if resp.GetArtifactStagingEndpoint().GetUrl() != "staging.example:1" || resp.GetStagingSessionToken() == "" {
		t.Errorf("Prepare returned %v", resp)
	}
	if got := f.state(id); got != jobpb.JobState_STOPPED {
		t.Errorf("prepared job is %v", got)
	}
	f.run(id)
	want := []string{"STOPPED", "STARTING", "RUNNING", "WARNING: a warning n=1", "DONE"}
	if got := f.messages(id); !slices.Equal(got, want) {
		t.Errorf("messages %q, want %q", got, want)
	}
	if got := f.states(id); !slices.Equal(got, []jobpb.JobState_Enum{jobpb.JobState_DONE}) {
		t.Errorf("states after the end %v", got)
	}
	if seen.ID != id || seen.Name != "wordcount" || seen.RetrievalToken == "" || !proto.Equal(seen.Options, options) {
		t.Errorf("the engine got %+v", seen)
	}
	m, err := f.jobs.GetJobMetrics(f.ctx, &jobpb.GetJobMetricsRequest{JobId: id})
	if err != nil || len(m.GetMetrics().GetAttempted()) != 2 || len(m.GetMetrics().GetCommitted()) != 1 {
		t.Errorf("metrics %v, %v", m, err)
	}
	got, err := f.jobs.GetPipeline(f.ctx, &jobpb.GetJobPipelineRequest{JobId: id})
	if err != nil || !proto.Equal(got.GetPipeline(), p) {
		t.Errorf("pipeline %v, %v", got, err)
	}
	jobs, err := f.jobs.GetJobs(f.ctx, &jobpb.GetJobsRequest{})
	if err != nil || len(jobs.GetJobInfo()) != 1 || jobs.GetJobInfo()[0].GetState() != jobpb.JobState_DONE || jobs.GetJobInfo()[0].GetJobName() != "wordcount" {
		t.Errorf("jobs %v, %v", jobs, err)
	}
}

// TestStreamsBeforeRun subscribes as Python does: to the preparation, before Run.
func TestStreamsBeforeRun(t *testing.T) {
	f := newFixture(t)
	id := f.prepare(pipeline())
	states, err := f.jobs.GetStateStream(f.ctx, &jobpb.GetJobStateRequest{JobId: id})
	if err != nil {
		t.Fatal(err)
	}
	if ev, err := states.Recv(); err != nil || ev.GetState() != jobpb.JobState_STOPPED || ev.GetTimestamp() == nil {
		t.Fatalf("first state %v, %v", ev, err)
	}
	messages := make(chan []string)
	go func() { messages <- f.messages(id) }()
	f.run(id)
	for _, want := range []jobpb.JobState_Enum{jobpb.JobState_STARTING, jobpb.JobState_RUNNING, jobpb.JobState_DONE} {
		if ev, err := states.Recv(); err != nil || ev.GetState() != want {
			t.Fatalf("state %v, %v; want %v", ev, err, want)
		}
	}
	if _, err := states.Recv(); err != io.EOF {
		t.Errorf("the state stream ends with %v", err)
	}
	if got := <-messages; !slices.Equal(got, []string{"STOPPED", "STARTING", "RUNNING", "DONE"}) {
		t.Errorf("messages %q", got)
	}
}

// TestFailure: the whole error comes before FAILED, and after any other error.
func TestFailure(t *testing.T) {
	f := newFixture(t)
	f.engine.run = func(_ context.Context, info *engine.JobInfo) error {
		info.Log.Error("bundle failed", "error", errors.New("first try\nof two"))
		return fmt.Errorf("stage s01: %w", errTest)
	}
	id := f.prepare(pipeline())
	f.run(id)
	want := []string{"STOPPED", "STARTING", "RUNNING", "ERROR: bundle failed\nerror:\nfirst try\nof two",
		"ERROR: stage s01: " + strings.ToValidUTF8(errTest.Error(), "\uFFFD"), "FAILED"}
	for range 2 {
		if got := f.messages(id); !slices.Equal(got, want) {
			t.Errorf("messages\n%q, want\n%q", got, want)
		}
	}
}

func TestRefusal(t *testing.T) {
	f := newFixture(t)
	for _, tc := range []struct {
		err  error
		code codes.Code
		part string
	}{
		{errors.New("transform X needs Y\ntransform Z needs W"), codes.InvalidArgument, "transform Z needs W"},
		{fmt.Errorf("session windows: %w", errors.ErrUnsupported), codes.Unimplemented, "session windows"},
		{status.Error(codes.ResourceExhausted, "too large"), codes.ResourceExhausted, "too large"},
		{errors.New("long\n" + strings.Repeat("%", 1<<20)), codes.InvalidArgument, "more bytes; the server's log"},
	} {
		f.engine.prepare = func(*engine.JobInfo, *pipepb.Pipeline) error { return tc.err }
		_, err := f.jobs.Prepare(f.ctx, &jobpb.PrepareJobRequest{JobName: "bad", Pipeline: pipeline()})
		wantCode(t, err, tc.code, tc.part, `"bad"`)
		if len(err.Error()) > 8<<10 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
	}
	_, err := f.jobs.Prepare(f.ctx, &jobpb.PrepareJobRequest{})
	wantCode(t, err, codes.InvalidArgument, "no pipeline")
	if jobs, err := f.jobs.GetJobs(f.ctx, &jobpb.GetJobsRequest{}); err != nil || len(jobs.GetJobInfo()) != 0 {
		t.Errorf("refused jobs are listed: %v, %v", jobs, err)
	}
}

func TestRunOnce(t *testing.T) {
	f := newFixture(t)
	id := f.prepare(pipeline())
	f.run(id)
	_, err := f.jobs.Run(f.ctx, &jobpb.RunJobRequest{PreparationId: id})
	wantCode(t, err, codes.FailedPrecondition, id, "prepare the pipeline again")
	f.messages(id)
	_, err = f.jobs.Run(f.ctx, &jobpb.RunJobRequest{PreparationId: id})
	wantCode(t, err, codes.FailedPrecondition, "DONE")
}

func TestUnknownJob(t *testing.T) {
	f := newFixture(t)
	const id = "nobody"
	_, err := f.jobs.Run(f.ctx, &jobpb.RunJobRequest{PreparationId: id})
	wantCode(t, err, codes.NotFound, id)
	_, err = f.jobs.GetState(f.ctx, &jobpb.GetJobStateRequest{JobId: id})
	wantCode(t, err, codes.NotFound)
	_, err = f.jobs.GetPipeline(f.ctx, &jobpb.GetJobPipelineRequest{JobId: id})
	wantCode(t, err, codes.NotFound)
	_, err = f.jobs.GetJobMetrics(f.ctx, &jobpb.GetJobMetricsRequest{JobId: id})
	wantCode(t, err, codes.NotFound)
	_, err = f.jobs.Cancel(f.ctx, &jobpb.CancelJobRequest{JobId: id})
	wantCode(t, err, codes.NotFound)
	_, err = f.jobs.Drain(f.ctx, &jobpb.DrainJobRequest{JobId: id})
	wantCode(t, err, codes.NotFound)
	states, _ := f.jobs.GetStateStream(f.ctx, &jobpb.GetJobStateRequest{JobId: id})
	_, err = states.Recv()
	wantCode(t, err, codes.NotFound)
	messages, _ := f.jobs.GetMessageStream(f.ctx, &jobpb.JobMessagesRequest{JobId: id})
	_, err = messages.Recv()
	wantCode(t, err, codes.NotFound)
}

func TestCancel(t *testing.T) {
	f := newFixture(t)
	release := make(chan struct{})
	f.engine.run = func(ctx context.Context, _ *engine.JobInfo) error {
		<-ctx.Done()
		<-release
		return context.Cause(ctx)
	}
	id := f.prepare(pipeline())
	f.run(id)
	for range 3 {
		if got := f.cancel(id); got != jobpb.JobState_CANCELLING {
			t.Errorf("Cancel returned %v", got)
		}
	}
	close(release)
	got := f.messages(id)
	if n := len(got); got[n-2] != "CANCELLING" || got[n-1] != "CANCELLED" {
		t.Errorf("messages %q", got)
	}
	if got := f.cancel(id); got != jobpb.JobState_CANCELLED {
		t.Errorf("Cancel after the end returned %v", got)
	}
	_, err := f.jobs.Drain(f.ctx, &jobpb.DrainJobRequest{JobId: id})
	wantCode(t, err, codes.FailedPrecondition, "drained", "CANCELLED")
}

func TestDrain(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want jobpb.JobState_Enum
	}{"good": {nil, jobpb.JobState_DRAINED}, "bad": {errors.New("no"), jobpb.JobState_FAILED}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			asked, release := make(chan struct{}), make(chan struct{})
			f.engine.drain = func() { close(asked) } // once
			f.engine.run = func(ctx context.Context, _ *engine.JobInfo) error {
				<-asked
				<-release
				return c.err
			}
			id := f.prepare(pipeline())
			_, err := f.jobs.Drain(f.ctx, &jobpb.DrainJobRequest{JobId: id})
			wantCode(t, err, codes.FailedPrecondition, "does not run")
			f.run(id)
			for range 3 {
				resp, err := f.jobs.Drain(f.ctx, &jobpb.DrainJobRequest{JobId: id})
				if err != nil || resp.GetState() != jobpb.JobState_DRAINING {
					t.Fatalf("Drain returned %v, %v", resp, err)
				}
			}
			close(release)
			got := f.messages(id)
			if last := got[len(got)-1]; last != c.want.String() {
				t.Errorf("messages %q, want %v last", got, c.want)
			}
		})
	}
}

// A job that is drained may take its time, so it can be cancelled too.
func TestCancelWhileDraining(t *testing.T) {
	f := newFixture(t)
	f.engine.run = untilCancelled
	id := f.prepare(pipeline())
	f.run(id)
	if _, err := f.jobs.Drain(f.ctx, &jobpb.DrainJobRequest{JobId: id}); err != nil {
		t.Fatal(err)
	}
	if got := f.cancel(id); got != jobpb.JobState_CANCELLING {
		t.Errorf("Cancel returned %v", got)
	}
	if got := f.messages(id); got[len(got)-1] != "CANCELLED" {
		t.Errorf("messages %q", got)
	}
}

func TestCancelBeforeRun(t *testing.T) {
	f := newFixture(t)
	id := f.prepare(pipeline())
	if got := f.cancel(id); got != jobpb.JobState_CANCELLED {
		t.Errorf("Cancel returned %v", got)
	}
	_, err := f.jobs.Run(f.ctx, &jobpb.RunJobRequest{PreparationId: id})
	wantCode(t, err, codes.FailedPrecondition, "CANCELLED")
	if got := f.messages(id); got[len(got)-1] != "CANCELLED" {
		t.Errorf("messages %q", got)
	}
}

// TestCancelRace cancels jobs that are just being run: each ends CANCELLED or DONE,
// once, and its execution runs at most once.
func TestCancelRace(t *testing.T) {
	f := newFixture(t)
	for range 200 {
		id := f.prepare(pipeline())
		ran := make(chan error, 1)
		go func() {
			_, err := f.jobs.Run(f.ctx, &jobpb.RunJobRequest{PreparationId: id})
			ran <- err
		}()
		f.cancel(id)
		<-ran
		got := f.messages(id)
		if end := got[len(got)-1]; end != "CANCELLED" && end != "DONE" {
			t.Fatalf("messages %q", got)
		}
	}
}

func TestPanics(t *testing.T) {
	f := newFixture(t)
	f.engine.prepare = func(*engine.JobInfo, *pipepb.Pipeline) error { panic("prepare broke") }
	_, err := f.jobs.Prepare(f.ctx, &jobpb.PrepareJobRequest{Pipeline: pipeline()})
	wantCode(t, err, codes.Internal, "prepare broke", "service_test.go")

	f.engine.prepare = nil
	f.engine.run = func(context.Context, *engine.JobInfo) error { panic("run broke") }
	id := f.prepare(pipeline())
	f.run(id)
	got := f.messages(id)
	if n := len(got); got[n-1] != "FAILED" || !strings.Contains(got[n-2], "run broke") || !strings.Contains(got[n-2], "service_test.go") {
		t.Errorf("messages %q", got)
	}

	f.engine.run = func(context.Context, *engine.JobInfo) error { runtime.Goexit(); return nil }
	id = f.prepare(pipeline())
	f.run(id)
	if got := f.messages(id); got[len(got)-1] != "FAILED" {
		t.Errorf("messages %q", got)
	}

	f.engine.run = untilCancelled
	f.engine.metrics = func() (a, c []*pipepb.MonitoringInfo) { panic("metrics broke") }
	id = f.prepare(pipeline())
	f.run(id)
	_, err = f.jobs.GetJobMetrics(f.ctx, &jobpb.GetJobMetricsRequest{JobId: id})
	wantCode(t, err, codes.Internal, "metrics broke")
	f.cancel(id)
	if got := f.messages(id); got[len(got)-1] != "CANCELLED" {
		t.Errorf("messages %q", got)
	}
}

func TestForgetting(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Keep = 2 })
	var done, prepared []string
	for range 4 {
		id := f.prepare(pipeline())
		f.run(id)
		f.messages(id)
		done = append(done, id)
	}
	f.engine.run = untilCancelled
	running := f.prepare(pipeline())
	f.run(running)
	for range 4 {
		prepared = append(prepared, f.prepare(pipeline()))
	}
	// The job's end is seen a moment before it is counted among the finished.
	want := []string{done[2], done[3], running, prepared[2], prepared[3]}
	var got []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		resp, err := f.jobs.GetJobs(f.ctx, &jobpb.GetJobsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, j := range resp.GetJobInfo() {
			got = append(got, j.GetJobId())
		}
		if slices.Equal(got, want) {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("jobs %q, want %q", got, want)
	}
	_, err := f.jobs.Run(f.ctx, &jobpb.RunJobRequest{PreparationId: prepared[0]})
	wantCode(t, err, codes.NotFound)
}

// TestClientVanishes: streams of a client that goes away leave no goroutine, and the
// job they were about goes on.
func TestClientVanishes(t *testing.T) {
	f := newFixture(t)
	release := make(chan struct{})
	f.engine.run = func(ctx context.Context, _ *engine.JobInfo) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	id := f.prepare(pipeline())
	f.run(id)
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(f.ctx)
	for range 50 {
		messages, err := f.jobs.GetMessageStream(ctx, &jobpb.JobMessagesRequest{JobId: id})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := messages.Recv(); err != nil {
			t.Fatal(err)
		}
		states, err := f.jobs.GetStateStream(ctx, &jobpb.GetJobStateRequest{JobId: id})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := states.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if n := runtime.NumGoroutine(); n < before+100 {
		t.Fatalf("%d goroutines serve 100 streams, there were %d before", n, before)
	}
	cancel()
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before+5 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before+5 {
		t.Errorf("%d goroutines are left, there were %d before", n, before)
	}
	if got := f.state(id); got != jobpb.JobState_RUNNING {
		t.Errorf("the job is %v", got)
	}
	close(release)
	if got := f.messages(id); got[len(got)-1] != "DONE" {
		t.Errorf("messages %q", got)
	}
}

func TestClose(t *testing.T) {
	f := newFixture(t)
	f.engine.run = untilCancelled
	id, waiting := f.prepare(pipeline()), f.prepare(pipeline())
	f.run(id)
	ended := make(chan []string, 2)
	for _, id := range []string{id, waiting} {
		go func() { ended <- f.messages(id) }()
	}
	if err := f.server.Close(f.ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := <-ended; got[len(got)-1] != "CANCELLED" || !slices.Contains(got, "BASIC: the server is shutting down") {
			t.Errorf("messages %q", got)
		}
	}
	_, err := f.jobs.Prepare(f.ctx, &jobpb.PrepareJobRequest{Pipeline: pipeline()})
	wantCode(t, err, codes.Unavailable)
}

func TestDescribePipelineOptions(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.PipelineOptions = []PipelineOption{{Name: "checkpoint", Type: jobpb.PipelineOptionType_STRING, Description: "d"}}
	})
	resp, err := f.jobs.DescribePipelineOptions(f.ctx, &jobpb.DescribePipelineOptionsRequest{})
	if err != nil || len(resp.GetOptions()) != 1 || resp.GetOptions()[0].GetName() != "checkpoint" || resp.GetOptions()[0].GetGroup() == "" {
		t.Errorf("options %v, %v", resp, err)
	}
}

func TestNewServerErrors(t *testing.T) {
	if _, err := NewServer(Options{}); err == nil {
		t.Error("a server without an engine")
	}
	for _, id := range []string{"", "..", "a/b", "/", "x\x00"} {
		f := newFixture(t, func(o *Options) { o.NewID = func() string { return id } })
		_, err := f.jobs.Prepare(f.ctx, &jobpb.PrepareJobRequest{Pipeline: pipeline()})
		wantCode(t, err, codes.Internal, "BUG")
	}
}
