package runner

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func init() {
	register.DoFn2x3[string, int64, string, int64, error](&picky{})
	register.DoFn3x1[state.Provider, string, int64, error](&ledger{})
}

// picky fails with one number, as long as the file Excuse is not there.
type picky struct {
	Bad    int64
	Excuse string
}

func (f *picky) ProcessElement(k string, n int64) (string, int64, error) {
	if n == f.Bad {
		if _, err := os.Stat(f.Excuse); err != nil {
			return "", 0, fmt.Errorf("what is %d?", n)
		}
	}
	return k, n, nil
}

// ledger counts and sums in state, and writes both to a file.
type ledger struct {
	File       string
	Count, Sum state.Value[int64]
}

func newLedger(file string) *ledger {
	return &ledger{File: file, Count: state.MakeValueState[int64]("count"), Sum: state.MakeValueState[int64]("sum")}
}

func (f *ledger) ProcessElement(sp state.Provider, _ string, i int64) error {
	n, _, err := f.Count.Read(sp)
	if err != nil {
		return err
	}
	sum, _, err := f.Sum.Read(sp)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Count.Write(sp, n+1), f.Sum.Write(sp, sum+i)); err != nil {
		return err
	}
	return os.WriteFile(f.File, fmt.Appendf(nil, "%d %d", n+1, sum+i), 0o600)
}

// booked is what a ledger's file has.
func booked(t *testing.T, file string) (n, sum int64) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		_, err = fmt.Sscan(string(data), &n, &sum)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n, sum
}

// checked has a source's elements looked at by a picky step. With more, there is a step behind it.
func pickyPipeline(p *picky, all int64, file string, more bool) func(beam.Scope) {
	return func(s beam.Scope) {
		made := beam.ParDo(s, &ticks{N: all}, beam.Impulse(s))
		if more {
			made = beam.ParDo(s, same, made)
		}
		beam.ParDo0(s, newLedger(file), beam.ParDo(s, p, made))
	}
}

// asServer serves a data directory until it is killed, and says where on its standard output.
func asServer() {
	s, err := Open(Config{Store: "pebble", DataDir: os.Getenv("SUMMERBEAM_TEST_DIR"), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	if err := s.Serve(context.Background(), l); err != nil {
		panic(err)
	}
}

// serveProcess starts a server in a process of its own; kill ends it as kill -9 does.
func serveProcess(t *testing.T, dir string) (_ *testServer, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SUMMERBEAM_TEST_ROLE=server", "SUMMERBEAM_TEST_DIR="+dir)
	out, err := cmd.StdoutPipe()
	log := &syncBuffer{}
	cmd.Stderr = log
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	killed := false
	kill = func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // "signal: killed" is what we want
		}
	}
	t.Cleanup(kill)
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server does not say where it is: %v", err)
	}
	go io.Copy(io.Discard, out)
	address = strings.TrimSpace(address)
	cc, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return &testServer{t: t, endpoint: address, conn: cc, client: jobpb.NewJobServiceClient(cc), log: log}, kill
}

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	bytesMu sync.Mutex
	bytes   bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.bytesMu.Lock()
	defer b.bytesMu.Unlock()
	return b.bytes.Write(p)
}

func (b *syncBuffer) String() string {
	b.bytesMu.Lock()
	defer b.bytesMu.Unlock()
	return b.bytes.String()
}

func (s *testServer) awaitState(t *testing.T, id string, want jobpb.JobState_Enum) {
	t.Helper()
	s.await(func(j *jobpb.JobInfo) bool { return j.GetJobId() == id && j.GetState() == want })
}

// TestAPausedJobOutlivesItsServer: real processes. A job can't process one of its elements and
// pauses; its server gets kill -9, and the next one has it as it was, paused. The corrected program, with a
// step more, takes it over, and in the end each element was counted once.
func TestAPausedJobOutlivesItsServer(t *testing.T) {
	const all, bad = 1500, 700
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "ledger")
	first, kill := serveProcess(t, dir)
	id, err := first.submitAs(t, "picky", pickyPipeline(&picky{Bad: bad}, all, file, false), map[string]any{"beam:option:summerbeam_on_poison:v1": "pause"})
	if err != nil {
		t.Fatal(err)
	}
	first.awaitState(t, id, jobpb.JobState_STOPPED)
	kill()
	if n, _ := booked(t, file); n > bad {
		t.Errorf("%d elements are counted, though number %d was not processed", n, bad)
	}

	second, kill := serveProcess(t, dir)
	second.awaitState(t, id, jobpb.JobState_STOPPED)
	stream, err := second.client.GetMessageStream(t.Context(), &jobpb.JobMessagesRequest{JobId: id})
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for !strings.Contains(said, "what is 700?") {
		m, err := stream.Recv()
		if err != nil {
			t.Fatalf("nobody says why it pauses: %v, %q", err, said)
		}
		said += m.GetMessageResponse().GetMessageText()
	}
	for _, want := range []string{"picky", "key", "--job_name=picky", "summerbeam resume picky"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q doesn't say %q", said, want)
		}
	}
	if _, err := AskSavepoint(t.Context(), second.conn, "picky", t.TempDir(), 0); err == nil || !strings.Contains(err.Error(), "paused") || !strings.Contains(err.Error(), "summerbeam resume picky") {
		t.Errorf("a savepoint: %v, want to hear that it is paused", err)
	}
	// As it is it pauses again.
	if err := AskResume(t.Context(), second.conn, "picky"); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetStateResponse().GetState() == jobpb.JobState_RUNNING {
			break
		}
	}
	second.awaitState(t, id, jobpb.JobState_STOPPED)
	corrected, err := second.submitAs(t, "picky", pickyPipeline(&picky{Bad: -1}, all, file, true), map[string]any{"beam:option:summerbeam_update:v1": "true"})
	if err != nil {
		t.Fatal(err)
	}
	if st := second.awaitEnd(t, id); st != jobpb.JobState_UPDATED {
		t.Errorf("the paused job has ended %v", st)
	}
	if st := second.awaitEnd(t, corrected); st != jobpb.JobState_DONE {
		t.Fatalf("the corrected job has ended %v", st)
	}
	kill()
	if n, sum := booked(t, file); n != all || sum != all*(all-1)/2 {
		t.Errorf("counted %d elements with the sum %d, want %d with %d", n, sum, all, all*(all-1)/2)
	}
	for _, d := range []string{"jobs", "artifacts"} {
		if left, _ := os.ReadDir(filepath.Join(dir, d)); len(left) > 0 {
			t.Errorf("the jobs have left %v in %s", left, d)
		}
	}
}

// TestResume: an element that a DoFn could not process is tried again when somebody says so.
func TestResume(t *testing.T) {
	dir, file, excuse := t.TempDir(), filepath.Join(t.TempDir(), "ledger"), filepath.Join(t.TempDir(), "excuse")
	s, stop := startServerIn(t, dir)
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(s.server.Metrics())
	paused := func() float64 {
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "summerbeam_job_paused" {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return -1
	}
	opts := map[string]any{"beam:option:summerbeam_on_poison:v1": "pause"}
	build := pickyPipeline(&picky{Bad: 20, Excuse: excuse}, 100, file, false)
	id, err := s.submitAs(t, "excused", build, opts)
	if err != nil {
		t.Fatal(err)
	}
	s.awaitState(t, id, jobpb.JobState_STOPPED)
	if v := paused(); v != 1 {
		t.Errorf("summerbeam_job_paused is %v, want 1", v)
	}
	stop()
	s, _ = startServerIn(t, dir)
	s.awaitState(t, id, jobpb.JobState_STOPPED)
	if states, err := AskStates(t.Context(), s.conn); err != nil || len(states) != 1 || states[id] != StatePaused {
		t.Errorf("states are %v (%v), want %s paused", states, err, id)
	}
	if err := os.WriteFile(excuse, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := AskResume(t.Context(), s.conn, id); err != nil {
		t.Fatal(err)
	}
	if st := s.awaitEnd(t, id); st != jobpb.JobState_DONE {
		t.Fatalf("it has ended %v", st)
	}
	if n, sum := booked(t, file); n != 100 || sum != 4950 {
		t.Errorf("counted %d elements with the sum %d", n, sum)
	}
	if err := AskResume(t.Context(), s.conn, id); err == nil || !strings.Contains(err.Error(), "not paused") {
		t.Errorf("resuming what is done: %v", err)
	}
}

// TestCancelOfAPausedJob removes all of it, and one whose workers are gone can't be resumed.
func TestCancelOfAPausedJob(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "ledger")
	s, stop := startServerIn(t, dir)
	opts := map[string]any{"beam:option:summerbeam_on_poison:v1": "pause"}
	id, err := s.submitAs(t, "gone", pickyPipeline(&picky{Bad: 0}, 100, file, false), opts)
	if err != nil {
		t.Fatal(err)
	}
	s.awaitState(t, id, jobpb.JobState_STOPPED)
	if _, err := s.client.Cancel(t.Context(), &jobpb.CancelJobRequest{JobId: id}); err != nil {
		t.Fatal(err)
	}
	if st := s.awaitEnd(t, id); st != jobpb.JobState_CANCELLED {
		t.Errorf("it has ended %v", st)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "jobs")); len(left) > 0 {
		t.Errorf("it has left %v", left)
	}
	// Without a home there is nothing to pause in.
	_, err = s.submitAs(t, "job", good, opts)
	if err == nil || !strings.Contains(err.Error(), "pause") {
		t.Errorf("a job that can't pause: %v", err)
	}
	stop()
	env := loopback(t)
	env.Payload = nil // a pool that is nowhere
	if err := reachable(t.Context(), marshal(t, env, good)); err == nil {
		t.Error("a pool that is nowhere is reachable")
	}
	if err := reachable(t.Context(), marshal(t, processes(t), good)); err != nil {
		t.Errorf("processes: %v", err)
	}
}
