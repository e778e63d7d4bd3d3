package runner

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/runnerlib"
)

func init() {
	register.DoFn3x1[*sdf.LockRTracker, []byte, func(string, int64), sdf.ProcessContinuation](&ticks{})
	register.Emitter2[string, int64]()
	register.Function2x1(explode)
	register.DoFn3x1[state.Provider, string, int64, error](&tally{})
}

// ticks is a source that looks endless and ends after N elements, a thousand a second.
type ticks struct{ N int64 }

func (f *ticks) CreateInitialRestriction([]byte) offsetrange.Restriction {
	return offsetrange.Restriction{End: f.N}
}

func (*ticks) SplitRestriction(_ []byte, r offsetrange.Restriction) []offsetrange.Restriction {
	return []offsetrange.Restriction{r}
}

func (*ticks) RestrictionSize(_ []byte, r offsetrange.Restriction) float64 { return r.Size() }

func (*ticks) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

func (*ticks) ProcessElement(rt *sdf.LockRTracker, _ []byte, emit func(string, int64)) sdf.ProcessContinuation {
	for i := rt.GetRestriction().(offsetrange.Restriction).Start; rt.TryClaim(i); i++ {
		emit("key", i)
		time.Sleep(time.Millisecond)
	}
	return sdf.StopProcessing()
}

// tally counts in state and writes the count to a file, and the first one to another that
// stays.
type tally struct {
	File  string
	Count state.Value[int64]
}

func (f *tally) ProcessElement(sp state.Provider, _ string, i int64) error {
	n, _, err := f.Count.Read(sp)
	if err != nil {
		return err
	}
	if first, err := os.OpenFile(firstOf(f.File), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil {
		_, err = fmt.Fprint(first, n+1)
		if err := errors.Join(err, first.Close()); err != nil {
			return err
		}
	}
	if err := os.WriteFile(f.File, fmt.Appendf(nil, "%d", n+1), 0o600); err != nil {
		return err
	}
	return f.Count.Write(sp, n+1)
}

func firstOf(file string) string { return file + ".first" }

func ticking(file string, n int64) func(beam.Scope) {
	return func(s beam.Scope) {
		beam.ParDo0(s, &tally{File: file, Count: state.MakeValueState[int64]("count")}, beam.ParDo(s, &ticks{N: n}, beam.Impulse(s)))
	}
}

func count(t *testing.T, file string) int64 {
	t.Helper()
	var n int64
	data, err := os.ReadFile(file)
	if err == nil && len(data) > 0 {
		_, err = fmt.Sscan(string(data), &n)
	}
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return n
}

// TestAServerGoesOn: a server stops in the middle of a job; the next one on its data
// directory brings the job to its end, under its old id, and nobody else has to come.
func TestAServerGoesOn(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "count")
	first, stop := startServerIn(t, dir)
	worker := filepath.Join(t.TempDir(), "worker")
	if err := os.WriteFile(worker, []byte("not really"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := marshal(t, processes(t), ticking(file, 2000))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go func() {
		// It ends with the server.
		_, _ = runnerlib.Execute(ctx, p, first.endpoint, &runnerlib.JobOptions{Name: "ticking", Worker: worker}, false)
	}()
	id := first.await(func(j *jobpb.JobInfo) bool {
		return j.GetJobName() == "ticking" && j.GetState() == jobpb.JobState_RUNNING
	})
	for count(t, file) < 300 {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if n := count(t, file); n >= 2000 {
		t.Fatalf("the job was done (%d) before the server stopped", n)
	}
	second, _ := startServerIn(t, dir)
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		st, err := second.client.GetState(ctx, &jobpb.GetJobStateRequest{JobId: id})
		if err == nil && st.GetState() == jobpb.JobState_DONE {
			break
		}
		if err == nil && st.GetState() == jobpb.JobState_FAILED || time.Now().After(deadline) {
			t.Fatalf("the job is %v (%v) after %d elements", st, err, count(t, file))
		}
	}
	if n := count(t, file); n != 2000 {
		t.Errorf("counted %d, want 2000", n)
	}
	for _, d := range []string{"jobs", "artifacts"} {
		if left, _ := os.ReadDir(filepath.Join(dir, d)); len(left) > 0 {
			t.Errorf("the job has left %v in %s", left, d)
		}
	}
}

// TestAnotherPipelineUnderTheSameName is refused: it would go on from state that isn't its.
func TestAnotherPipelineUnderTheSameName(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "count")
	first, stop := startServerIn(t, dir)
	submit := func(s *testServer, build func(beam.Scope)) error {
		resp, err := s.client.Prepare(t.Context(), &jobpb.PrepareJobRequest{JobName: "a name / with signs", Pipeline: marshal(t, processes(t), build)})
		if err == nil {
			_, err = s.client.Run(t.Context(), &jobpb.RunJobRequest{PreparationId: resp.GetPreparationId()})
		}
		return err
	}
	if err := submit(first, ticking(file, math.MaxInt64/2)); err != nil {
		t.Fatal(err)
	}
	for count(t, file) < 10 {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	second, _ := startServerIn(t, dir)
	err := submit(second, func(s beam.Scope) {
		beam.ParDo(s, addOne, beam.Create(s, 1))
		ticking(file, 5)(s)
	})
	if err == nil || !strings.Contains(err.Error(), "another shape") {
		t.Errorf("got %v, want to hear that the name is another pipeline's", err)
	}
	// Batch jobs live nowhere: a name is no matter to them.
	if err := submit(second, good); err != nil {
		t.Errorf("a batch job: %v", err)
	}
}

func TestASecondServerOnADataDirectory(t *testing.T) {
	dir := t.TempDir()
	_, stop := startServerIn(t, dir)
	if _, err := Open(Config{Store: "pebble", DataDir: dir}); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Fatalf("got %v, want to hear of the other server", err)
	}
	stop()
	startServerIn(t, dir)
}

// TestASavepointGoesOnElsewhere: of a job that runs on, and is stopped later; another data
// directory goes on from the savepoint, with what was counted by then.
func TestASavepointGoesOnElsewhere(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "count")
	first, stop := startServerIn(t, dir)
	resp, err := first.client.Prepare(t.Context(), &jobpb.PrepareJobRequest{JobName: "saved", Pipeline: marshal(t, processes(t), ticking(file, 1500))})
	if err == nil {
		_, err = first.client.Run(t.Context(), &jobpb.RunJobRequest{PreparationId: resp.GetPreparationId()})
	}
	if err != nil {
		t.Fatal(err)
	}
	for count(t, file) < 300 {
		time.Sleep(10 * time.Millisecond)
	}
	saved := filepath.Join(t.TempDir(), "savepoint")
	if _, err := AskSavepoint(t.Context(), first.conn, "saved", saved, 0); err != nil {
		t.Fatal(err)
	}
	at := count(t, file)
	for at == 0 { // the file is being written
		at = count(t, file)
	}
	for count(t, file) < at+200 {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	other := t.TempDir()
	if name, err := Restore(t.Context(), saved, "", "", other); err != nil || name != "saved" {
		t.Fatalf("restored %q, %v", name, err)
	}
	if _, err := Restore(t.Context(), saved, "", "", other); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("got %v, want to hear that the job is there", err)
	}
	if err := os.WriteFile(file, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, _ := startServerIn(t, other)
	lowest := int64(math.MaxInt64)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if n := count(t, file); n > 0 {
			lowest = min(lowest, n)
		}
		st, err := second.client.GetState(t.Context(), &jobpb.GetJobStateRequest{JobId: resp.GetPreparationId()})
		if err == nil && st.GetState() == jobpb.JobState_DONE {
			break
		}
		if err == nil && st.GetState() == jobpb.JobState_FAILED || time.Now().After(deadline) {
			t.Fatalf("the job is %v (%v) after %d elements", st, err, count(t, file))
		}
	}
	if n := count(t, file); n != 1500 {
		t.Errorf("counted %d, want 1500", n)
	}
	// What was counted by then is in an epoch when its bundle has ended, which takes a
	// while on a busy machine. From the beginning it would be 1.
	if lowest < 20 || lowest > at+100 {
		t.Errorf("it went on from %d, want from what was durable when %d were counted", lowest, at)
	}
}

// explode fails on whatever it gets.
func explode(string, int64) error { return errors.New("out of order") }

// TestAFailedJobWaits: a job that has failed by its own fault is not taken up by the next
// server, which would only see it fail again; who submits it again goes on with it.
func TestAFailedJobWaits(t *testing.T) {
	dir := t.TempDir()
	first, stop := startServerIn(t, dir)
	failing := func(s beam.Scope) {
		made := beam.ParDo(s, &ticks{N: 1 << 40}, beam.Impulse(s))
		beam.ParDo0(s, explode, made)
	}
	id, err := first.submitAs(t, "failing", failing, nil)
	if err != nil {
		t.Fatal(err)
	}
	if st := first.awaitEnd(t, id); st != jobpb.JobState_FAILED {
		t.Fatalf("it has ended %v", st)
	}
	stop()
	second, _ := startServerIn(t, dir)
	if left := second.server.left; len(left) != 1 || !strings.Contains(left[0].failed, "out of order") {
		t.Errorf("the next server knows of %+v, want one failed job", left)
	}
	if id, err = second.submitAs(t, "failing", failing, nil); err != nil {
		t.Fatal(err)
	}
	jobs, err := second.client.GetJobs(t.Context(), &jobpb.GetJobsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs.GetJobInfo()) != 1 {
		t.Errorf("the next server has %v, want what was submitted again and no more", jobs.GetJobInfo())
	}
	if st := second.awaitEnd(t, id); st != jobpb.JobState_FAILED {
		t.Errorf("submitted again it has ended %v", st)
	}
	// Another pipeline under its name begins anew, and what the failed one had is kept.
	other := func(s beam.Scope) {
		beam.ParDo(s, same, beam.ParDo(s, &ticks{N: 10}, beam.Impulse(s)))
	}
	if id, err = second.submitAs(t, "failing", other, nil); err != nil {
		t.Fatal(err)
	}
	if st := second.awaitEnd(t, id); st != jobpb.JobState_DONE {
		t.Errorf("another pipeline under its name has ended %v", st)
	}
	if aside, err := filepath.Glob(filepath.Join(dir, "failed", "name-failing-*", "job.json")); err != nil || len(aside) != 1 {
		t.Errorf("put aside are %v (%v), want one job", aside, err)
	}
}
