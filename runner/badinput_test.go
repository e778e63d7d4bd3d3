package runner

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/harness"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/harness/init"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/extworker"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/runnerlib"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/util/grpcx"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// These tests send a real server what it must survive. Each of them ends with a
// good job on the same server, and one more good job runs all the while.

func init() {
	register.Function1x0(panics)
	register.Function2x0(diesOnce)
	register.Function1x1(addOne)
	register.Function2x0(hangs)
	register.Emitter1[int]()
}

func addOne(n int) int { return n + 1 }

func panics(int) { panic("the user's own mistake") }

// diesOnce ends its own process as kill -9 does, unless the file named says that it
// has done so before.
func diesOnce(n int, marker string) {
	if _, err := os.Stat(marker); err == nil {
		return
	}
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		panic(err)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// hangs does nothing until the file named is there.
func hangs(_ int, marker string) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(marker); err == nil {
			return
		}
	}
}

// asWorker makes the test binary a worker process or a client, if it was started
// as one.
func asWorker() {
	beam.Init()
	arg := func(name string) string {
		for _, a := range os.Args {
			if v, ok := strings.CutPrefix(a, "--"+name+"="); ok {
				return v
			}
		}
		return ""
	}
	ctx := grpcx.WriteWorkerID(context.Background(), arg("id"))
	if err := harness.MainWithOptions(ctx, arg("logging_endpoint"), arg("control_endpoint"), harness.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func TestMain(m *testing.M) {
	switch os.Getenv("SUMMERBEAM_TEST_ROLE") {
	case "worker":
		asWorker()
	case "client":
		asClient()
	case "server":
		asServer()
	}
	beam.Init()
	os.Exit(m.Run())
}

type testServer struct {
	t        *testing.T
	endpoint string
	conn     *grpc.ClientConn
	client   jobpb.JobServiceClient
	server   *Server
	// log is that of a server in another process.
	log *syncBuffer
}

func startServer(t *testing.T) *testServer {
	t.Helper()
	s, _ := startServerIn(t, "")
	return s
}

// startServerIn starts a server on a data directory; stop stops it before the test's end.
func startServerIn(t *testing.T, dir string) (_ *testServer, stop func()) {
	t.Helper()
	return startServerWith(t, Config{Store: "pebble", DataDir: dir})
}

// startServerWith starts a server of its own config.
func startServerWith(t *testing.T, cfg Config) (_ *testServer, stop func()) {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	cc, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cc.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	t.Cleanup(stop)
	return &testServer{t: t, endpoint: l.Addr().String(), conn: cc, client: jobpb.NewJobServiceClient(cc), server: s}, stop
}

// processes is an environment whose workers are processes of this test's binary.
func processes(t *testing.T) *pipepb.Environment {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	payload, err := proto.Marshal(&pipepb.ProcessPayload{Command: exe, Env: map[string]string{"SUMMERBEAM_TEST_ROLE": "worker"}})
	if err != nil {
		t.Fatal(err)
	}
	env, err := graphx.CreateEnvironment(context.Background(), graphx.URNEnvDocker, func(context.Context) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	env.Urn, env.Payload = graphx.URNEnvProcess, payload
	return env
}

func loopback(t *testing.T) *pipepb.Environment {
	t.Helper()
	pool, err := extworker.StartLoopback(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Stop(context.Background()) })
	env, err := graphx.CreateEnvironment(context.Background(), graphx.URNEnvExternal, pool.EnvironmentConfig)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func marshal(t *testing.T, env *pipepb.Environment, build func(beam.Scope)) *pipepb.Pipeline {
	t.Helper()
	p, s := beam.NewPipelineWithRoot()
	build(s)
	edges, _, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	pb, err := graphx.Marshal(edges, &graphx.Options{Environment: env})
	if err != nil {
		t.Fatal(err)
	}
	return pb
}

// run submits a pipeline as the SDK does and waits for its end.
func (s *testServer) run(p *pipepb.Pipeline) error {
	empty := filepath.Join(s.t.TempDir(), "worker")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := runnerlib.Execute(ctx, p, s.endpoint, &runnerlib.JobOptions{Name: "test", Worker: empty}, false)
	return err
}

func good(s beam.Scope) {
	nums := beam.ParDo(s, addOne, beam.Create(s, 1, 2, 3))
	passert.Equals(s, beam.WindowInto(s, window.NewGlobalWindows(), nums), 2, 3, 4)
}

// surrounded runs bad while another job runs, and a good job afterwards.
func (s *testServer) surrounded(bad func()) {
	s.t.Helper()
	marker := filepath.Join(s.t.TempDir(), "go")
	other := marshal(s.t, loopback(s.t), func(sc beam.Scope) {
		beam.ParDo0(sc, hangs, beam.Create(sc, 1), beam.SideInput{Input: beam.Create(sc, marker)})
	})
	ended := make(chan error, 1)
	go func() { ended <- s.run(other) }()
	bad()
	select {
	case err := <-ended:
		s.t.Fatalf("the other job ended meanwhile: %v", err)
	default:
	}
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := <-ended; err != nil {
		s.t.Errorf("the other job: %v", err)
	}
	if err := s.run(marshal(s.t, loopback(s.t), good)); err != nil {
		s.t.Errorf("a good job afterwards: %v", err)
	}
}

func (s *testServer) refused(p *pipepb.Pipeline, want ...string) {
	s.t.Helper()
	_, err := s.client.Prepare(context.Background(), &jobpb.PrepareJobRequest{JobName: "bad", Pipeline: p})
	if code := status.Code(err); code != codes.InvalidArgument && code != codes.Unimplemented {
		s.t.Fatalf("got %v, want a refusal", err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			s.t.Errorf("error %q doesn't say %q", err, w)
		}
	}
}

func TestMalformedPipelines(t *testing.T) {
	s := startServer(t)
	s.surrounded(func() {
		s.refused(nil, "no pipeline")
		s.refused(&pipepb.Pipeline{}, "malformed")
		p := marshal(t, loopback(t), good)
		for id := range p.Components.Coders {
			delete(p.Components.Coders, id)
		}
		s.refused(p, "coder")
		p = marshal(t, loopback(t), good)
		for _, tr := range p.Components.Transforms {
			if tr.Inputs["i0"] != "" && len(tr.Subtransforms) == 0 {
				tr.Inputs["i0"] = "nowhere"
			}
		}
		s.refused(p, "nowhere")
	})
}

func TestUnknownURNs(t *testing.T) {
	s := startServer(t)
	s.surrounded(func() {
		p := marshal(t, loopback(t), good)
		n := 0
		for id, tr := range p.Components.Transforms {
			if tr.GetSpec().GetUrn() == "beam:transform:pardo:v1" && n < 2 {
				tr.Spec.Urn = "test:odd:" + id
				n++
			}
		}
		// One error that names both.
		s.refused(p, "test:odd:")
		if _, err := s.client.Prepare(context.Background(), &jobpb.PrepareJobRequest{Pipeline: p}); strings.Count(err.Error(), "test:odd:") != 2 {
			t.Errorf("error %q doesn't name both transforms", err)
		}
	})
}

func TestADoFnThatPanics(t *testing.T) {
	s := startServer(t)
	s.surrounded(func() {
		err := s.run(marshal(t, loopback(t), func(sc beam.Scope) { beam.ParDo0(sc, panics, beam.Create(sc, 1)) }))
		if err == nil || !strings.Contains(err.Error(), "the user's own mistake") || !strings.Contains(err.Error(), "badinput_test.go") {
			t.Errorf("got %v, want the panic and its stack", err)
		}
	})
}

// TestAWorkerKilledInABundle: the worker process gets kill -9 in the middle of a
// bundle; another takes over and the job succeeds.
func TestAWorkerKilledInABundle(t *testing.T) {
	s := startServer(t)
	env := processes(t)
	marker := filepath.Join(t.TempDir(), "died")
	s.surrounded(func() {
		err := s.run(marshal(t, env, func(sc beam.Scope) {
			beam.ParDo0(sc, diesOnce, beam.Create(sc, 1, 2, 3), beam.SideInput{Input: beam.Create(sc, marker)})
		}))
		if err != nil {
			t.Errorf("the job failed: %v", err)
		}
		if _, err := os.Stat(marker); err != nil {
			t.Errorf("no worker was killed: %v", err)
		}
	})
}

// asClient submits a job that hangs, with this process as its LOOPBACK worker.
func asClient() {
	beam.Init()
	ctx := context.Background()
	pool, err := extworker.StartLoopback(ctx, 0)
	if err != nil {
		panic(err)
	}
	env, err := graphx.CreateEnvironment(ctx, graphx.URNEnvExternal, pool.EnvironmentConfig)
	if err != nil {
		panic(err)
	}
	p, s := beam.NewPipelineWithRoot()
	beam.ParDo0(s, hangs, beam.Create(s, 1), beam.SideInput{Input: beam.Create(s, "/nowhere/at/all")})
	edges, _, err := p.Build()
	if err != nil {
		panic(err)
	}
	pb, err := graphx.Marshal(edges, &graphx.Options{Environment: env})
	if err != nil {
		panic(err)
	}
	_, err = runnerlib.Execute(ctx, pb, os.Getenv("SUMMERBEAM_TEST_ENDPOINT"), &runnerlib.JobOptions{Name: "vanishes", Worker: os.Args[0]}, false)
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// TestAClientThatVanishes: a program that is its job's client and worker is killed.
// Its job fails with a reason.
func TestAClientThatVanishes(t *testing.T) {
	s := startServer(t)
	s.surrounded(func() {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SUMMERBEAM_TEST_ROLE=client", "SUMMERBEAM_TEST_ENDPOINT="+s.endpoint)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		id := s.await(func(j *jobpb.JobInfo) bool {
			return j.GetJobName() == "vanishes" && j.GetState() == jobpb.JobState_RUNNING
		})
		time.Sleep(200 * time.Millisecond) // let it get into its bundle
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		s.await(func(j *jobpb.JobInfo) bool { return j.GetJobId() == id && j.GetState() == jobpb.JobState_FAILED })
	})
}

// await waits for a job of which ok is true and returns its id.
func (s *testServer) await(ok func(*jobpb.JobInfo) bool) string {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		res, err := s.client.GetJobs(context.Background(), &jobpb.GetJobsRequest{})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, j := range res.GetJobInfo() {
			if ok(j) {
				return j.GetJobId()
			}
		}
	}
	s.t.Fatal("the job didn't get there")
	return ""
}
