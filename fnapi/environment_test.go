package fnapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/harness"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/util/hooks"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/util/grpcx"
	"github.com/summerbeam/summerbeam/fnapi"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// TestMain makes the test binary a worker program too: PROCESS environments run it.
func TestMain(m *testing.M) {
	mode := os.Getenv("FNAPI_TEST_WORKER")
	hooks.SerializeHooksToOptions() // as a runner does at submission; logs go to the server
	if mode == "" {
		os.Exit(m.Run())
	}
	flags := map[string]string{}
	for _, a := range os.Args[1:] {
		k, v, _ := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		flags[k] = v
	}
	for _, k := range []string{"id", "logging_endpoint", "artifact_endpoint", "provision_endpoint", "control_endpoint"} {
		if flags[k] == "" {
			fmt.Fprintln(os.Stderr, "no flag", k)
			os.Exit(3)
		}
	}
	fmt.Println("stdout of the worker")
	switch mode {
	case "fail":
		fmt.Fprintln(os.Stderr, "cannot find my shoes")
		os.Exit(7)
	case "idle":
		time.Sleep(time.Hour)
	case "child": // as a boot program does
		cmd := exec.Command(os.Args[0], os.Args[1:]...)
		cmd.Env = append(os.Environ(), "FNAPI_TEST_WORKER="+os.Getenv("FNAPI_TEST_CHILD"))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		_ = os.WriteFile(os.Getenv("FNAPI_TEST_PID"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
		_ = cmd.Wait()
	case "run", "stubborn":
		if mode == "stubborn" {
			signal.Ignore(syscall.SIGTERM)
		}
		fmt.Fprintln(os.Stderr, "last words")
		beam.Init()
		ctx := grpcx.WriteWorkerID(context.Background(), flags["id"])
		if err := harness.MainWithOptions(ctx, flags["logging_endpoint"], flags["control_endpoint"], harness.Options{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if mode == "stubborn" {
			time.Sleep(time.Hour)
		}
	}
	os.Exit(0)
}

func processEnvironment(t *testing.T, mode string, env map[string]string) *pipepb.Environment {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if env == nil {
		env = map[string]string{}
	}
	env["FNAPI_TEST_WORKER"] = mode
	env["GORACE"] = "atexit_sleep_ms=0" // it would take a second to die
	b, err := proto.Marshal(&pipepb.ProcessPayload{Command: exe, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return &pipepb.Environment{Urn: "beam:env:process:v1", Payload: b, Capabilities: []string{goCapability}}
}

// logs is a slog handler's output that may be read meanwhile.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// await waits for lines to be in the log.
func (l *logs) await(t *testing.T, lines ...string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		missing := ""
		for _, line := range lines {
			if !strings.Contains(l.String(), line) {
				missing = line
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the log lacks %q:\n%s", missing, l)
		}
	}
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestProcessKilled(t *testing.T) {
	s := serve(t, fnapi.Options{})
	out := &logs{}
	pidFile := filepath.Join(t.TempDir(), "pid")
	env := processEnvironment(t, "child", map[string]string{"FNAPI_TEST_PID": pidFile, "FNAPI_TEST_CHILD": "run"})
	w, err := s.Start(t.Context(), &engine.JobInfo{ID: "j", Log: out.logger()}, "w1", "env", env)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	out.await(t, "stdout of the worker", "last words")

	d := stageOf(t, func(s beam.Scope, in beam.PCollection) beam.PCollection { return beam.ParDo(s, hang, in) })
	b, _ := bundle("b1", d, windowed(t, []byte("abc")))
	ran := start(t.Context(), w, b)
	out.await(t, "hanging in process ")
	_, rest, _ := strings.Cut(out.String(), "hanging in process ")
	fields := strings.FieldsFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	child, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	o := wait(t, ran)
	if !errors.Is(o.err, engine.ErrWorkerLost) || !strings.Contains(o.err.Error(), "last words") || !strings.Contains(o.err.Error(), "its process") {
		t.Fatalf("got %v", o.err)
	}
}

func TestProcessGroupEndsWithTheWorker(t *testing.T) {
	s := serve(t, fnapi.Options{StopTimeout: 200 * time.Millisecond})
	pidFile := filepath.Join(t.TempDir(), "pid")
	env := processEnvironment(t, "child", map[string]string{"FNAPI_TEST_PID": pidFile, "FNAPI_TEST_CHILD": "stubborn"})
	w, err := s.Start(t.Context(), &engine.JobInfo{ID: "j"}, "w1", "env", env)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); alive(child); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the worker's child %d outlives it", child)
		}
	}
}

// alive tells whether a process runs; one that nobody has reaped does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !errors.Is(err, os.ErrNotExist)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestStartErrors(t *testing.T) {
	pool, poolEnv := newFakePool(t)
	pool.refuse = "out of beds"
	silent, silentEnv := newFakePool(t)
	silent.silent = true
	payload, _ := proto.Marshal(&pipepb.ExternalPayload{Endpoint: &pipepb.ApiServiceDescriptor{Url: "localhost:1"}})
	missing, _ := proto.Marshal(&pipepb.ProcessPayload{Command: "/no/such/program"})
	anyDocker, _ := proto.Marshal(&pipepb.AnyOfEnvironmentPayload{Environments: []*pipepb.Environment{{Urn: "beam:env:docker:v1"}}})
	for name, c := range map[string]struct {
		env  *pipepb.Environment
		want []string
	}{
		"docker":          {&pipepb.Environment{Urn: "beam:env:docker:v1"}, []string{"LOOPBACK", "EXTERNAL", "PROCESS"}},
		"default":         {&pipepb.Environment{Urn: "beam:env:default:v1"}, []string{"beam:env:default:v1", "LOOPBACK"}},
		"none":            {nil, []string{"LOOPBACK"}},
		"any of docker":   {&pipepb.Environment{Urn: "beam:env:anyof:v1", Payload: anyDocker}, []string{"LOOPBACK"}},
		"broken payload":  {&pipepb.Environment{Urn: "beam:env:external:v1", Payload: []byte{0xff}}, []string{"payload"}},
		"no endpoint":     {&pipepb.Environment{Urn: "beam:env:external:v1"}, []string{"--environment_config"}},
		"no command":      {&pipepb.Environment{Urn: "beam:env:process:v1"}, []string{"--environment_config"}},
		"no pool there":   {&pipepb.Environment{Urn: "beam:env:external:v1", Payload: payload}, []string{"localhost:1", "is it running"}},
		"pool refuses":    {poolEnv, []string{"out of beds"}},
		"never connects":  {silentEnv, []string{"says that it has started it", "within"}},
		"no such program": {&pipepb.Environment{Urn: "beam:env:process:v1", Payload: missing}, []string{"/no/such/program"}},
		"process fails":   {processEnvironment(t, "fail", nil), []string{"exit status 7", "cannot find my shoes"}},
		"process is idle": {processEnvironment(t, "idle", nil), []string{"runs, but no worker has connected"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, fnapi.Options{StartTimeout: 500 * time.Millisecond})
			_, err := s.Start(t.Context(), &engine.JobInfo{}, "w1", "my env", c.env)
			if err == nil {
				t.Fatal("it started")
			}
			for _, want := range append(c.want, "my env", "w1") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
			if _, err := s.Status(t.Context(), "w1"); err == nil || !strings.Contains(err.Error(), "no worker") {
				t.Errorf("the worker is still known: %v", err)
			}
		})
	}
}

func TestStartStopsWithItsContext(t *testing.T) {
	silent, env := newFakePool(t)
	silent.silent = true
	s := serve(t, fnapi.Options{})
	cause := errors.New("never mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	if _, err := s.Start(ctx, &engine.JobInfo{}, "w1", "env", env); !errors.Is(err, cause) {
		t.Fatalf("got %v", err)
	}
	silent.mu.Lock()
	defer silent.mu.Unlock()
	if len(silent.stopped) != 1 {
		t.Fatal("the pool was not told to stop it")
	}
}

func TestProvisionInfo(t *testing.T) {
	s := serve(t, fnapi.Options{})
	opts, _ := structpb.NewStruct(map[string]any{"beam:option:x:v1": "y"})
	_, f, _ := startFakeOn(t, s, &engine.JobInfo{ID: "j", Name: "n", Options: opts, RetrievalToken: "token"}, "beam:protocol:worker_status:v1")
	resp, err := fnpb.NewProvisionServiceClient(f.conn).GetProvisionInfo(f.ctx, &fnpb.GetProvisionInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	i := resp.GetInfo()
	if !proto.Equal(i.GetPipelineOptions(), opts) || i.GetRetrievalToken() != "__no_artifacts_staged__" {
		t.Errorf("got %v", i)
	}
	for _, e := range []*pipepb.ApiServiceDescriptor{i.GetLoggingEndpoint(), i.GetArtifactEndpoint(), i.GetControlEndpoint(), i.GetStatusEndpoint()} {
		if e.GetUrl() != f.conn.Target() {
			t.Errorf("endpoint %v, want %v", e, f.conn.Target())
		}
	}
	if want := "beam:protocol:monitoring_info_short_ids:v1"; !strings.Contains(fmt.Sprint(i.GetRunnerCapabilities()), want) {
		t.Errorf("capabilities %v", i.GetRunnerCapabilities())
	}
}

// files is an ArtifactSource.
type files map[string]string

func (f files) OpenArtifact(_ context.Context, token string, a *pipepb.ArtifactInformation) (io.ReadCloser, error) {
	text, ok := f[token+"/"+string(a.GetTypePayload())]
	if !ok {
		return nil, os.ErrNotExist
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

func (f files) ResolveArtifacts(_ context.Context, token string, all []*pipepb.ArtifactInformation) ([]*pipepb.ArtifactInformation, error) {
	if token != "token" {
		return nil, os.ErrNotExist
	}
	return append([]*pipepb.ArtifactInformation{{TypeUrn: "resolved"}}, all...), nil
}

func TestArtifacts(t *testing.T) {
	large := strings.Repeat("0123456789", 250_000)
	s := serve(t, fnapi.Options{Artifacts: files{"token/large": large, "token/empty": "", "other/x": "secret"}})
	_, f, _ := startFakeOn(t, s, &engine.JobInfo{ID: "j", RetrievalToken: "token"})
	c := jobpb.NewArtifactRetrievalServiceClient(f.conn)
	get := func(name string) (string, error) {
		st, err := c.GetArtifact(f.ctx, &jobpb.GetArtifactRequest{Artifact: &pipepb.ArtifactInformation{TypePayload: []byte(name)}})
		if err != nil {
			return "", err
		}
		var b strings.Builder
		for {
			m, err := st.Recv()
			if err == io.EOF {
				return b.String(), nil
			}
			if err != nil {
				return "", err
			}
			b.Write(m.GetData())
		}
	}
	if got, err := get("large"); err != nil || got != large {
		t.Errorf("large: %d bytes, %v", len(got), err)
	}
	if got, err := get("empty"); err != nil || got != "" {
		t.Errorf("empty: %q, %v", got, err)
	}
	if _, err := get("x"); err == nil {
		t.Error("another job's file was served")
	}
	want := &pipepb.ArtifactInformation{TypeUrn: "u"}
	resp, err := c.ResolveArtifacts(f.ctx, &jobpb.ResolveArtifactsRequest{Artifacts: []*pipepb.ArtifactInformation{want}})
	if err != nil || len(resp.GetReplacements()) != 2 || !proto.Equal(resp.GetReplacements()[1], want) {
		t.Errorf("resolve: %v, %v", resp, err)
	}
}

func TestLogging(t *testing.T) {
	s := serve(t, fnapi.Options{})
	out := &logs{}
	w, f, _ := startFakeOn(t, s, &engine.JobInfo{ID: "j", Log: out.logger().With("job", "j")})
	if o := wait(t, finish(t, w, f, "b1", &fnpb.ProcessBundleResponse{})); o.err != nil {
		t.Fatal(o.err)
	}
	st, err := fnpb.NewBeamFnLoggingClient(f.conn).Logging(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	var list fnpb.LogEntry_List
	for name, sev := range fnpb.LogEntry_Severity_Enum_value {
		list.LogEntries = append(list.LogEntries, &fnpb.LogEntry{
			Severity: fnpb.LogEntry_Severity_Enum(sev), Message: "is " + name, InstructionId: "b1", TransformId: "t7",
			Timestamp: &timestamppb.Timestamp{Seconds: 1}, LogLocation: "file:1", Trace: "Traceback",
		})
	}
	list.LogEntries = append(list.LogEntries, &fnpb.LogEntry{Severity: fnpb.LogEntry_Severity_WARN, Message: "on its own"})
	if err := st.Send(&list); err != nil {
		t.Fatal(err)
	}
	attrs := ` job=j worker=w1 stage="the stage" bundle=b1 transform=t7 location=file:1 trace=Traceback`
	out.await(t,
		`time=1970-01-01T00:00:01.000Z level=DEBUG msg="is DEBUG"`+attrs,
		`level=INFO msg="is INFO"`+attrs,
		`level=WARN msg="is WARN"`+attrs,
		`level=ERROR msg="is ERROR"`+attrs,
		`level=ERROR msg="is CRITICAL"`+attrs,
		"level=WARN msg=\"on its own\" job=j worker=w1\n",
	)
	if strings.Contains(out.String(), "is TRACE") {
		t.Error("traces are below the log's level")
	}
}
