package runner

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"google.golang.org/protobuf/types/known/structpb"
)

func init() {
	register.Function2x2(same)
}

// same is a step that an update puts in.
func same(k string, v int64) (string, int64) { return k, v }

// submitAs submits a pipeline under a name and returns the job's id.
func (s *testServer) submitAs(t *testing.T, name string, build func(beam.Scope), options map[string]any) (string, error) {
	t.Helper()
	opts, err := structpb.NewStruct(options)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Prepare(t.Context(), &jobpb.PrepareJobRequest{JobName: name, Pipeline: marshal(t, processes(t), build), PipelineOptions: opts})
	if err != nil {
		return "", err
	}
	_, err = s.client.Run(t.Context(), &jobpb.RunJobRequest{PreparationId: resp.GetPreparationId()})
	return resp.GetPreparationId(), err
}

// awaitEnd waits for a job's last state.
func (s *testServer) awaitEnd(t *testing.T, id string) jobpb.JobState_Enum {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		st, err := s.client.GetState(t.Context(), &jobpb.GetJobStateRequest{JobId: id})
		if err != nil {
			t.Fatal(err)
		}
		switch st.GetState() {
		case jobpb.JobState_DONE, jobpb.JobState_FAILED, jobpb.JobState_UPDATED, jobpb.JobState_CANCELLED:
			return st.GetState()
		}
		if time.Now().After(deadline) {
			t.Fatalf("job %s is %v", id, st.GetState())
		}
	}
}

// TestAnUpdateTakesOver: while a job runs, a pipeline with a step more and a state more takes
// it over. The old state goes on, no element is lost or counted twice, and the new state
// begins where the update was.
func TestAnUpdateTakesOver(t *testing.T) {
	const all = 3000
	dir, files := t.TempDir(), t.TempDir()
	file, second := filepath.Join(files, "count"), filepath.Join(files, "second")
	server, _ := startServerIn(t, dir)
	count1 := func(file string) *tally {
		return &tally{File: file, Count: state.MakeValueState[int64]("count")}
	}
	first, err := server.submitAs(t, "updated", ticking(file, all), nil)
	if err != nil {
		t.Fatal(err)
	}
	for count(t, file) < 300 {
		time.Sleep(10 * time.Millisecond)
	}
	bigger := func(s beam.Scope) {
		made := beam.ParDo(s, &ticks{N: all}, beam.Impulse(s))
		beam.ParDo0(s.Scope("another"), count1(second), made)
		beam.ParDo0(s, count1(file), beam.ParDo(s, same, made))
	}
	if _, err := server.submitAs(t, "updated", bigger, nil); err == nil || !strings.Contains(err.Error(), "summerbeam_update") {
		t.Errorf("without the option: %v", err)
	}
	// A plan says what would be, and the job runs on.
	plan, err := server.submitAs(t, "updated", bigger, map[string]any{"beam:option:summerbeam_update:v1": "plan"})
	if err != nil {
		t.Fatal(err)
	}
	if st := server.awaitEnd(t, plan); st != jobpb.JobState_DONE {
		t.Errorf("the plan has ended %v", st)
	}
	// What is refused leaves the job running.
	refused, err := server.submitAs(t, "updated", func(s beam.Scope) {
		beam.ParDo(s, same, beam.ParDo(s, &ticks{N: all}, beam.Impulse(s)))
	}, map[string]any{"beam:option:summerbeam_update:v1": "true"})
	if err != nil {
		t.Fatal(err)
	}
	if st := server.awaitEnd(t, refused); st != jobpb.JobState_FAILED {
		t.Errorf("an update that drops state has ended %v", st)
	}
	updated, err := server.submitAs(t, "updated", bigger, map[string]any{"beam:option:summerbeam_update:v1": "true"})
	if err != nil {
		t.Fatal(err)
	}
	if st := server.awaitEnd(t, first); st != jobpb.JobState_UPDATED {
		t.Errorf("the job that was updated has ended %v", st)
	}
	// A savepoint of it is of what it has now.
	saved := filepath.Join(t.TempDir(), "saved")
	for err := errors.New("not yet"); err != nil; time.Sleep(10 * time.Millisecond) {
		_, err = server.server.Savepoint(t.Context(), updated, saved, 0)
		if err != nil && !strings.Contains(err.Error(), "at the moment") && !strings.Contains(err.Error(), "runs") {
			t.Fatal(err)
		}
	}
	other := t.TempDir()
	if _, err := Restore(t.Context(), saved, "", "", other); err != nil {
		t.Fatal(err)
	}
	restored := home{dir: filepath.Join(other, "jobs", "name-updated")}
	if restored.record, err = restored.read(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{restored.store(), restored.submission()} {
		if _, err := os.Stat(name); err != nil {
			t.Errorf("the savepoint has none: %v", err)
		}
	}
	if st := server.awaitEnd(t, updated); st != jobpb.JobState_DONE {
		t.Fatalf("the updated job has ended %v after %d elements", st, count(t, file))
	}
	if n := count(t, file); n != all {
		t.Errorf("counted %d, want %d", n, all)
	}
	if n := count(t, second); n == 0 || n > all-100 {
		t.Errorf("the new state has counted %d, want those since the update", n)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "jobs")); len(left) > 0 {
		t.Errorf("the job has left %v", left)
	}
}

// TestAnUpdateThatDrops needs to say so.
func TestAnUpdateThatDrops(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "count")
	server, stop := startServerIn(t, dir)
	first, err := server.submitAs(t, "dropped", ticking(file, 1<<40), nil)
	if err != nil {
		t.Fatal(err)
	}
	for count(t, file) < 100 {
		time.Sleep(10 * time.Millisecond)
	}
	stop()

	server, _ = startServerIn(t, dir)
	stateless := func(s beam.Scope) {
		beam.ParDo(s, same, beam.ParDo(s, &ticks{N: 10}, beam.Impulse(s)))
	}
	id, err := server.submitAs(t, "dropped", stateless, map[string]any{"beam:option:summerbeam_update:v1": "plan"})
	if err != nil {
		t.Fatal(err)
	}
	if st := server.awaitEnd(t, id); st != jobpb.JobState_FAILED {
		t.Errorf("a plan that drops state has ended %v", st)
	}
	id, err = server.submitAs(t, "dropped", stateless, map[string]any{
		"beam:option:summerbeam_update:v1": "plan", "beam:option:summerbeam_drop_state:v1": "true",
	})
	if err != nil {
		t.Fatal(err)
	}
	if st := server.awaitEnd(t, id); st != jobpb.JobState_DONE {
		t.Errorf("with the option it has ended %v", st)
	}
	// Then state that comes again is new state.
	id, err = server.submitAs(t, "dropped", stateless, map[string]any{
		"beam:option:update:v1": true, "beam:option:summerbeam_drop_state:v1": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	server.await(func(j *jobpb.JobInfo) bool { return j.GetJobId() == id && j.GetState() == jobpb.JobState_RUNNING })
	// The server has gone on with the first job by itself, and it counts until the update has taken over.
	server.await(func(j *jobpb.JobInfo) bool { return j.GetJobId() == first && j.GetState() == jobpb.JobState_UPDATED })
	if err := os.Remove(firstOf(file)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // some epochs
	if _, err = server.submitAs(t, "dropped", ticking(file, 1<<40), map[string]any{"beam:option:update:v1": true}); err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for ; n == 0; time.Sleep(time.Millisecond) {
		n = count(t, firstOf(file))
	}
	if n != 1 {
		t.Errorf("the new state begins with %d, want 1", n)
	}
}
