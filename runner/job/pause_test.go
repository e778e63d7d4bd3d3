package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/grpc/codes"
)

// await waits until a job is in a state.
func (f *fixture) await(id string, want jobpb.JobState_Enum) {
	f.Helper()
	stream, err := f.jobs.GetStateStream(f.ctx, &jobpb.GetJobStateRequest{JobId: id})
	for err == nil {
		var ev *jobpb.JobStateEvent
		if ev, err = stream.Recv(); ev.GetState() == want {
			return
		}
	}
	f.Fatalf("job %s does not become %v: %v", id, want, err)
}

// pausing is an engine whose executions pause until fixed is closed.
func pausing(f *fixture) (fixed chan struct{}) {
	fixed = make(chan struct{})
	f.engine.run = func(ctx context.Context, _ *engine.JobInfo) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		select {
		case <-fixed:
			return nil
		default:
			return fmt.Errorf("%w: division by zero", ErrPaused)
		}
	}
	return fixed
}

// TestPause: a paused job says why, stays, and goes on when it is resumed.
func TestPause(t *testing.T) {
	f := newFixture(t)
	fixed := pausing(f)
	id := f.prepare(pipeline())
	f.run(id)
	f.await(id, jobpb.JobState_STOPPED)
	if err := f.server.GoOn(id); err != nil { // in vain
		t.Fatal(err)
	}
	f.await(id, jobpb.JobState_STOPPED)
	_, err := f.jobs.Drain(f.ctx, &jobpb.DrainJobRequest{JobId: id})
	wantCode(t, err, codes.FailedPrecondition, "PAUSED")
	close(fixed)
	if got, _, err := f.server.Paused(id); got != id || err != nil {
		t.Fatalf("Paused: %q, %v", got, err)
	}
	if err := f.server.GoOn(id); err != nil {
		t.Fatal(err)
	}
	got := f.messages(id)
	why := slices.IndexFunc(got, func(m string) bool { return strings.Contains(m, "division by zero") })
	if why < 0 || got[why+1] != "STOPPED" || got[len(got)-1] != "DONE" {
		t.Errorf("messages %q", got)
	}
	wantCode(t, f.server.GoOn(id), codes.FailedPrecondition, "DONE")
	_, _, err = f.server.Paused(id)
	wantCode(t, err, codes.FailedPrecondition, "DONE")
	_, _, err = f.server.Paused("nobody")
	wantCode(t, err, codes.NotFound, "nobody")
}

// TestCancelPaused: what the job has kept is an execution's to remove, one that is cancelled
// before it begins.
func TestCancelPaused(t *testing.T) {
	f := newFixture(t)
	pausing(f)
	run, removed := f.engine.run, make(chan struct{})
	f.engine.run = func(ctx context.Context, info *engine.JobInfo) error {
		err := run(ctx, info)
		if errors.Is(err, ErrCancelled) {
			close(removed)
		}
		return err
	}
	id := f.prepare(pipeline())
	f.run(id)
	f.await(id, jobpb.JobState_STOPPED)
	f.cancel(id)
	if got := f.messages(id); got[len(got)-1] != "CANCELLED" {
		t.Errorf("messages %q", got)
	}
	<-removed
	wantCode(t, f.server.GoOn(id), codes.FailedPrecondition, "CANCELLED")
}

// TestAnOldPausedJob is there under its old id, until another moves in.
func TestAnOldPausedJob(t *testing.T) {
	f := newFixture(t)
	fixed := pausing(f)
	close(fixed)
	for _, id := range []string{"old-1", "old-2", "old-3"} {
		if err := f.server.AddPaused(id, &jobpb.PrepareJobRequest{JobName: id + "-name", Pipeline: pipeline()}, "as it was"); err != nil {
			t.Fatal(err)
		}
		if st := f.state(id); st != jobpb.JobState_STOPPED {
			t.Fatalf("%s is %v", id, st)
		}
	}
	if got, _, err := f.server.Paused("old-1-name"); got != "old-1" || err != nil {
		t.Fatalf("Paused: %q, %v", got, err)
	}
	if err := f.server.GoOn("old-1"); err != nil {
		t.Fatal(err)
	}
	if got := f.messages("old-1"); !slices.ContainsFunc(got, func(m string) bool { return strings.Contains(m, "as it was") }) || got[len(got)-1] != "DONE" {
		t.Errorf("messages %q", got)
	}
	f.server.Superseded("old-2")
	if got := f.messages("old-2"); got[len(got)-1] != "UPDATED" {
		t.Errorf("messages %q", got)
	}
	f.server.Superseded("nobody")
	// The last one stays for the next process: the fixture's Close must not run anything of it.
	f.engine.run = func(context.Context, *engine.JobInfo) error {
		t.Error("an execution runs when the server closes")
		return nil
	}
}
