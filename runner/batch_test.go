package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/protobuf/types/known/structpb"
)

func init() {
	register.DoFn2x1[int, func(string, int64), error](&maker{})
	register.DoFn3x1[string, func(*int64) bool, func(string, int64), error](&taker{})
	register.Iter1[int64]()
}

// note adds a line to a file.
func note(file, line string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

// noted counts the lines of a file.
func noted(t *testing.T, file string) map[string]int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	lines := map[string]int{}
	for _, l := range strings.Fields(string(data)) {
		lines[l]++
	}
	return lines
}

// maker makes Each numbers of an element, under ten keys.
type maker struct {
	Dir  string
	Each int64
}

func (f *maker) ProcessElement(part int, emit func(string, int64)) error {
	for i := range f.Each {
		emit(fmt.Sprintf("k%d", i%10), i)
	}
	return note(filepath.Join(f.Dir, "made"), fmt.Sprint(part))
}

// taker sums up a key's numbers and says so in a file. If Await is set it does so when that file is there.
type taker struct{ Dir, Name, Await string }

func (f *taker) ProcessElement(k string, numbers func(*int64) bool, emit func(string, int64)) error {
	n, sum := 0, int64(0)
	for v := int64(0); numbers(&v); {
		n++
		sum += v
	}
	if f.Await != "" {
		if err := note(filepath.Join(f.Dir, f.Name+"-begun"), k); err != nil {
			return err
		}
		for {
			if _, err := os.Stat(f.Await); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	emit(k, sum)
	return note(filepath.Join(f.Dir, f.Name), fmt.Sprintf("%s:%d:%d", k, n, sum))
}

// threeStages makes 4*each numbers, sums them up by key, and the sums once more.
func threeStages(dir string, each int64, await string) func(beam.Scope) {
	return func(s beam.Scope) {
		made := beam.ParDo(s, &maker{Dir: dir, Each: each}, beam.Reshuffle(s, beam.Create(s, 0, 1, 2, 3)))
		sums := beam.ParDo(s, &taker{Dir: dir, Name: "first"}, beam.GroupByKey(s, made))
		beam.ParDo(s, &taker{Dir: dir, Name: "second", Await: await}, beam.GroupByKey(s, sums))
	}
}

// TestABatchJobGoesOn: real processes. The server of a batch job gets kill -9 in the middle of the job's last
// stage; the next one goes on with that stage, and no other runs again.
func TestABatchJobGoesOn(t *testing.T) {
	const each = 20_000
	dir, files := t.TempDir(), t.TempDir()
	await := filepath.Join(files, "go")
	first, kill := serveProcess(t, dir)
	id, err := first.submitAs(t, "daily", threeStages(files, each, await), nil)
	if err != nil {
		t.Fatal(err)
	}
	durable := regexp.MustCompile(`stages_done=(\d+) stages=(\d+)`)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var done, all int
		for _, m := range durable.FindAllStringSubmatch(first.log.String(), -1) {
			fmt.Sscan(m[1]+" "+m[2], &done, &all)
		}
		if done > 0 && done == all-1 && len(noted(t, filepath.Join(files, "second-begun"))) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the last stage has not begun: %d of %d stages are durable", done, all)
		}
	}
	kill()
	if err := os.WriteFile(await, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second, kill := serveProcess(t, dir)
	second.awaitState(t, id, jobpb.JobState_DONE)
	kill()
	once := func(file string, want map[string]int) {
		t.Helper()
		got := noted(t, filepath.Join(files, file))
		for line, n := range want {
			if got[line] != n {
				t.Errorf("%s: %d times %s, want %d", file, got[line], line, n)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s has %d different lines, want %d", file, len(got), len(want))
		}
	}
	once("made", map[string]int{"0": 1, "1": 1, "2": 1, "3": 1})
	sums := map[string]int{}
	for k := range int64(10) {
		n := int64(each / 10)
		sums[fmt.Sprintf("k%d:%d:%d", k, 4*n, 4*(n*k+10*n*(n-1)/2))] = 1
	}
	once("first", sums)
	if got := noted(t, filepath.Join(files, "second")); len(got) != 10 {
		t.Errorf("the last stage has taken %v", got)
	}
	for _, d := range []string{"jobs", "artifacts", "spill"} {
		if left, _ := os.ReadDir(filepath.Join(dir, d)); len(left) > 0 {
			t.Errorf("the job has left %v in %s", left, d)
		}
	}
}

// TestSubmissionsDiffer: a batch job is known by all that was submitted, but for how it is run.
func TestSubmissionsDiffer(t *testing.T) {
	hash := func(each int64, options map[string]any) string {
		opts, err := structpb.NewStruct(options)
		if err != nil {
			t.Fatal(err)
		}
		h, err := submissionHash(marshal(t, processes(t), func(s beam.Scope) {
			threeStages("dir", each, "")(s.Scope("one"))
			threeStages("dir", each, "")(s.Scope("two"))
		}), &engine.JobInfo{Options: opts})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	same := hash(1, nil)
	for range 20 { // the SDK writes some things in any order
		if other := hash(1, map[string]any{"beam:option:summerbeam_slots:v1": "7", "beam:option:job_endpoint:v1": "here"}); other != same {
			t.Fatal("options of how it runs make it another job")
		}
	}
	for name, other := range map[string]string{
		"a DoFn's field": hash(2, nil), "an option": hash(1, map[string]any{"beam:option:input:v1": "tuesday"}),
	} {
		if other == same {
			t.Errorf("%s makes no other job", name)
		}
	}
	for name, want := range map[string]bool{"daily": false, "": true, "job": true, "go-job-1-1700000000000000000": true, "go-jobs": false} {
		if nobodys(name) != want {
			t.Errorf("%q is nobody's: %v", name, !want)
		}
	}
}

// TestABatchJobLeftBehind: what was left is gone on from by the same job alone; another of its name begins
// anew, a second at the same time runs beside it, and one that fails leaves nothing.
func TestABatchJobLeftBehind(t *testing.T) {
	dir, files := t.TempDir(), t.TempDir()
	await := filepath.Join(files, "go")
	first, stop := startServerIn(t, dir)
	if _, err := first.submitAs(t, "daily", threeStages(files, 100, await), nil); err != nil {
		t.Fatal(err)
	}
	begun := func(n int) {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			all := 0
			for _, times := range noted(t, filepath.Join(files, "second-begun")) {
				all += times
			}
			if all >= n {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("the last stage has not begun")
			}
		}
	}
	begun(1)
	// Beside it, in a home of its own.
	if err := os.Mkdir(filepath.Join(files, "beside"), 0o700); err != nil {
		t.Fatal(err)
	}
	beside, err := first.submitAs(t, "daily", threeStages(filepath.Join(files, "beside"), 10, ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	if st := first.awaitEnd(t, beside); st != jobpb.JobState_DONE {
		t.Errorf("beside it another has ended %v", st)
	}
	left, err := os.ReadDir(filepath.Join(dir, "jobs"))
	if err != nil || len(left) != 1 || left[0].Name() != "batch-daily" {
		t.Errorf("homes %v, %v", left, err)
	}
	stop()

	// Of another day.
	record := home{dir: filepath.Join(dir, "jobs", "batch-daily")}
	was, err := record.read()
	if err != nil {
		t.Fatal(err)
	}
	if !was.Batch || was.Name != "daily" {
		t.Errorf("record %+v", was)
	}
	record.record = was
	if !record.goesOn(false) {
		t.Error("the same job does not go on")
	}
	record.record.Submission = "other"
	if record.goesOn(false) || !record.goesOn(true) {
		t.Error("another submission goes on, or does not though it says so")
	}
	second, _ := startServerIn(t, dir)
	if err := os.WriteFile(await, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second.awaitState(t, was.Job, jobpb.JobState_DONE)
	id, err := second.submitAs(t, "failing", func(s beam.Scope) { beam.ParDo0(s, panics, beam.Create(s, 1)) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if st := second.awaitEnd(t, id); st != jobpb.JobState_FAILED {
		t.Errorf("a job that fails has ended %v", st)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "jobs")); len(left) > 0 {
		t.Errorf("homes %v are left", left)
	}
}

// TestAPausedBatchJob is resumed behind its last stage that had ended; another job of its name puts it aside.
func TestAPausedBatchJob(t *testing.T) {
	dir, files := t.TempDir(), t.TempDir()
	excuse := filepath.Join(files, "excuse")
	s, _ := startServerIn(t, dir)
	pause := map[string]any{"beam:option:summerbeam_on_poison:v1": "pause"}
	build := func(into string, excuse string) func(beam.Scope) {
		return func(s beam.Scope) {
			made := beam.ParDo(s, &maker{Dir: into, Each: 100}, beam.Create(s, 0))
			sums := beam.ParDo(s, &taker{Dir: into, Name: "first"}, beam.GroupByKey(s, made))
			beam.ParDo(s, &picky{Bad: 450, Excuse: excuse}, sums) // the sum of k0
		}
	}
	id, err := s.submitAs(t, "nightly", build(files, excuse), pause)
	if err != nil {
		t.Fatal(err)
	}
	s.awaitState(t, id, jobpb.JobState_STOPPED)
	if err := os.WriteFile(excuse, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := AskResume(t.Context(), s.conn, "nightly"); err != nil {
		t.Fatal(err)
	}
	if st := s.awaitEnd(t, id); st != jobpb.JobState_DONE {
		t.Fatalf("resumed it has ended %v", st)
	}
	if got := noted(t, filepath.Join(files, "made")); got["0"] != 1 {
		t.Errorf("its first stage has run %v", got)
	}
	if got := noted(t, filepath.Join(files, "first")); len(got) != 10 {
		t.Errorf("its second stage has taken %v", got)
	}
	if err := os.Remove(excuse); err != nil {
		t.Fatal(err)
	}
	if id, err = s.submitAs(t, "nightly", build(files, excuse), pause); err != nil {
		t.Fatal(err)
	}
	s.awaitState(t, id, jobpb.JobState_STOPPED)
	next := t.TempDir()
	other, err := s.submitAs(t, "nightly", build(next, files), pause)
	if err != nil {
		t.Fatal(err)
	}
	if st := s.awaitEnd(t, other); st != jobpb.JobState_DONE {
		t.Errorf("the next night's job has ended %v", st)
	}
	if got := noted(t, filepath.Join(next, "made")); got["0"] != 1 {
		t.Errorf("the next night's first stage has run %v", got)
	}
	if st := s.awaitEnd(t, id); st != jobpb.JobState_UPDATED {
		t.Errorf("the paused job is %v", st)
	}
	if aside, err := filepath.Glob(filepath.Join(dir, "failed", "batch-nightly-*", "job.json")); err != nil || len(aside) != 1 {
		t.Errorf("put aside are %v (%v), want one job", aside, err)
	}
}
