package fnapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/fnapi"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// finish runs a bundle that has no output, reading its input.
func finish(t *testing.T, w engine.Worker, f *fake, id string, resp *fnpb.ProcessBundleResponse, between ...func()) chan outcome {
	t.Helper()
	b, _ := bundle(id, plain(), []byte("abc"))
	ran := start(t.Context(), w, b)
	if got := f.next().GetInstructionId(); got != id {
		t.Fatalf("got instruction %q, want bundle %q", got, id)
	}
	if f.data == nil {
		f.openData()
	}
	f.input()
	for _, act := range between {
		act()
	}
	f.answer(id, resp)
	return ran
}

func TestShortIDs(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	run := func(id string, asked []string, data map[string]string) []*pipepb.MonitoringInfo {
		resp := &fnpb.ProcessBundleResponse{MonitoringData: map[string][]byte{}}
		for k, v := range data {
			resp.MonitoringData[k] = []byte(v)
		}
		ran := finish(t, w, f, id, resp)
		if asked != nil {
			req := f.next()
			if got := req.GetMonitoringInfos().GetMonitoringInfoId(); !slices.Equal(got, asked) {
				t.Fatalf("bundle %s: asked for %v, want %v", id, got, asked)
			}
			infos := map[string]*pipepb.MonitoringInfo{}
			for _, a := range asked {
				if a != "unknown" {
					infos[a] = &pipepb.MonitoringInfo{Urn: "urn:" + a, Type: "type", Labels: map[string]string{"L": a}}
				}
			}
			f.respond(&fnpb.InstructionResponse{InstructionId: req.GetInstructionId(), Response: &fnpb.InstructionResponse_MonitoringInfos{
				MonitoringInfos: &fnpb.MonitoringInfosMetadataResponse{MonitoringInfo: infos},
			}})
		}
		o := wait(t, ran)
		if o.err != nil {
			t.Fatal(o.err)
		}
		return o.res.Metrics
	}
	show := func(infos []*pipepb.MonitoringInfo) string {
		var s []string
		for _, i := range infos {
			s = append(s, fmt.Sprintf("%s %s %v=%s", i.GetUrn(), i.GetType(), i.GetLabels(), i.GetPayload()))
		}
		return strings.Join(s, "; ")
	}
	got := show(run("b1", []string{"a", "b", "unknown"}, map[string]string{"a": "1", "b": "2", "unknown": "9"}))
	if want := "urn:a type map[L:a]=1; urn:b type map[L:b]=2"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	got = show(run("b2", []string{"c", "unknown"}, map[string]string{"b": "3", "c": "4", "unknown": "9"}))
	if want := "urn:b type map[L:b]=3; urn:c type map[L:c]=4"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	got = show(run("b3", nil, map[string]string{"b": "5"}))
	if want := "urn:b type map[L:b]=5"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

// Python sends metrics both ways.
func TestFullMetricsAreTakenAsTheyAre(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	full := []*pipepb.MonitoringInfo{{Urn: "u", Payload: []byte("1")}}
	o := wait(t, finish(t, w, f, "b1", &fnpb.ProcessBundleResponse{
		MonitoringInfos: full, MonitoringData: map[string][]byte{"a": []byte("1")},
	}))
	if o.err != nil || len(o.res.Metrics) != 1 || o.res.Metrics[0].GetUrn() != "u" {
		t.Fatalf("got %+v", o)
	}
}

func TestSplit(t *testing.T) {
	channel := func(last, first int64) []*fnpb.ProcessBundleSplitResponse_ChannelSplit {
		return []*fnpb.ProcessBundleSplitResponse_ChannelSplit{{TransformId: "source", LastPrimaryElement: last, FirstResidualElement: first}}
	}
	primary := []*fnpb.BundleApplication{{}}
	residual := []*fnpb.DelayedBundleApplication{{}}
	for _, c := range []struct {
		name string
		resp *fnpb.ProcessBundleSplitResponse
		want string // "" good, "nil" no split, otherwise the error
	}{
		{"not now", &fnpb.ProcessBundleSplitResponse{}, "nil"},
		{"between elements", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channel(3, 4)}, ""},
		{"before all", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channel(-1, 0)}, ""},
		{"in an element", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channel(3, 5), PrimaryRoots: primary, ResidualRoots: residual}, ""},
		{"element lost", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channel(3, 5)}, "leaves element 4 out"},
		{"two elements between", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channel(3, 6), PrimaryRoots: primary, ResidualRoots: residual}, "starts the residual with 6"},
		{"overlap", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channel(4, 4)}, "starts the residual with 4"},
		{"at the end", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channel(9, 10)}, "nil"},
		{"behind the end", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channel(10, 11)}, "nil"},
		{"beyond the end", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channel(9, 11)}, "starts the residual with 11"},
		{"roots of nothing", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channel(3, 4), ResidualRoots: residual}, "cuts no element"},
		{"no input", &fnpb.ProcessBundleSplitResponse{ResidualRoots: residual}, "cuts 0 inputs"},
		{"other input", &fnpb.ProcessBundleSplitResponse{ChannelSplits: []*fnpb.ProcessBundleSplitResponse_ChannelSplit{{TransformId: "x", FirstResidualElement: 1}}}, `"x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, f := startFake(t, fnapi.Options{})
			ran := finish(t, w, f, "b1", &fnpb.ProcessBundleResponse{}, func() {
				type answer struct {
					resp *fnpb.ProcessBundleSplitResponse
					err  error
				}
				got := make(chan answer, 1)
				go func() {
					resp, err := w.Split(t.Context(), "b1", 0.5, 10)
					got <- answer{resp, err}
				}()
				req := f.next()
				want := req.GetProcessBundleSplit().GetDesiredSplits()["source"]
				if req.GetProcessBundleSplit().GetInstructionId() != "b1" || want.GetFractionOfRemainder() != 0.5 || want.GetEstimatedInputElements() != 10 {
					t.Errorf("asked %v", req)
				}
				f.respond(&fnpb.InstructionResponse{InstructionId: req.GetInstructionId(), Response: &fnpb.InstructionResponse_ProcessBundleSplit{ProcessBundleSplit: c.resp}})
				a := wait(t, got)
				switch c.want {
				case "":
					if a.err != nil || a.resp == nil {
						t.Errorf("got %v, %v", a.resp, a.err)
					}
				case "nil":
					if a.err != nil || a.resp != nil {
						t.Errorf("got %v, %v", a.resp, a.err)
					}
				default:
					if a.err == nil || !strings.Contains(a.err.Error(), c.want) {
						t.Errorf("got %v, want %q", a.err, c.want)
					}
				}
			})
			if o := wait(t, ran); o.err != nil {
				t.Fatal(o.err)
			}
			if resp, err := w.Split(t.Context(), "b1", 0.5, 10); resp != nil || err != nil {
				t.Fatalf("of a bundle that is over: %v, %v", resp, err)
			}
			if infos, err := w.Progress(t.Context(), "b1"); infos != nil || err != nil {
				t.Fatalf("of a bundle that is over: %v, %v", infos, err)
			}
		})
	}
}

// TestAskedBeforeItBegins: a bundle whose input travels in its request begins when all of that
// was read. The Go harness answers a split of a bundle that it doesn't know with an error, which
// would fail the bundle.
func TestAskedBeforeItBegins(t *testing.T) {
	w, f := startFake(t, fnapi.Options{}, "beam:protocol:control_request_elements_embedding:v1")
	b, _ := bundle("b1", plain())
	reading, read := make(chan bool), make(chan bool)
	b.Input = func(yield func([]byte, error) bool) {
		close(reading)
		<-read
		yield([]byte("all"), nil)
	}
	ran := start(t.Context(), w, b)
	<-reading
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if resp, err := w.Split(ctx, "b1", 0.5, 10); resp != nil || err != nil {
		t.Errorf("split: %v, %v", resp, err)
	}
	if infos, err := w.Progress(ctx, "b1"); infos != nil || err != nil {
		t.Errorf("progress: %v, %v", infos, err)
	}
	close(read)
	if req := f.next(); req.GetProcessBundle() == nil {
		t.Errorf("the worker hears %v first", req)
	}
	f.answer("b1", &fnpb.ProcessBundleResponse{})
	if o := wait(t, ran); o.err != nil {
		t.Fatal(o.err)
	}
}

func TestProgress(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	ran := finish(t, w, f, "b1", &fnpb.ProcessBundleResponse{}, func() {
		got := make(chan []*pipepb.MonitoringInfo, 1)
		go func() {
			infos, err := w.Progress(t.Context(), "b1")
			if err != nil {
				t.Error(err)
			}
			got <- infos
		}()
		req := f.next()
		if req.GetProcessBundleProgress().GetInstructionId() != "b1" {
			t.Errorf("asked %v", req)
		}
		f.respond(&fnpb.InstructionResponse{InstructionId: req.GetInstructionId(), Response: &fnpb.InstructionResponse_ProcessBundleProgress{
			ProcessBundleProgress: &fnpb.ProcessBundleProgressResponse{MonitoringInfos: []*pipepb.MonitoringInfo{{Urn: "u"}}},
		}})
		if infos := wait(t, got); len(infos) != 1 || infos[0].GetUrn() != "u" {
			t.Errorf("got %v", infos)
		}
	})
	if o := wait(t, ran); o.err != nil {
		t.Fatal(o.err)
	}
}

const goCapability = "beam:version:sdk_base:go:apache/beam_go_sdk:2.77.0"

// A Go harness is told to finalize only between bundles.
func TestFinalizeWaitsForRunningBundles(t *testing.T) {
	w, f := startFake(t, fnapi.Options{FinalizeHold: time.Hour}, goCapability)
	wants := &fnpb.ProcessBundleResponse{RequiresFinalization: true}
	if o := wait(t, finish(t, w, f, "b1", wants)); o.err != nil || !o.res.Finalize {
		t.Fatalf("got %+v", o)
	}
	b2, _ := bundle("b2", plain())
	ran2 := start(t.Context(), w, b2)
	f.next()
	finalized := make(chan error, 1)
	go func() { finalized <- w.Finalize(t.Context(), "b1") }()
	f.quiet()
	b3, _ := bundle("b3", plain())
	ran3 := start(t.Context(), w, b3)
	f.quiet()
	f.input()
	f.answer("b2", &fnpb.ProcessBundleResponse{})
	if o := wait(t, ran2); o.err != nil {
		t.Fatal(o.err)
	}
	req := f.next()
	if req.GetFinalizeBundle().GetInstructionId() != "b1" {
		t.Fatalf("after b2 came %v, want the finalization of b1", req)
	}
	f.quiet()
	f.respond(&fnpb.InstructionResponse{InstructionId: req.GetInstructionId(), Response: &fnpb.InstructionResponse_FinalizeBundle{}})
	if err := wait(t, finalized); err != nil {
		t.Fatal(err)
	}
	if id := f.next().GetInstructionId(); id != "b3" {
		t.Fatalf("got %q, want b3", id)
	}
	f.input()
	f.answer("b3", &fnpb.ProcessBundleResponse{})
	if o := wait(t, ran3); o.err != nil {
		t.Fatal(o.err)
	}
}

// A bundle that runs long must not stop all others on account of a finalization.
func TestFinalizeHoldsBundlesOnlyBriefly(t *testing.T) {
	w, f := startFake(t, fnapi.Options{FinalizeHold: time.Millisecond}, goCapability)
	if o := wait(t, finish(t, w, f, "b1", &fnpb.ProcessBundleResponse{RequiresFinalization: true})); o.err != nil {
		t.Fatal(o.err)
	}
	b2, _ := bundle("b2", plain())
	ran2 := start(t.Context(), w, b2)
	f.next()
	f.input()
	finalized := make(chan error, 1)
	go func() { finalized <- w.Finalize(t.Context(), "b1") }()
	for i := range 20 {
		if o := wait(t, finish(t, w, f, fmt.Sprint("other", i), &fnpb.ProcessBundleResponse{})); o.err != nil {
			t.Fatal(o.err)
		}
	}
	f.answer("b2", &fnpb.ProcessBundleResponse{})
	if o := wait(t, ran2); o.err != nil {
		t.Fatal(o.err)
	}
	req := f.next()
	if req.GetFinalizeBundle().GetInstructionId() != "b1" {
		t.Fatalf("got %v", req)
	}
	f.respond(&fnpb.InstructionResponse{InstructionId: req.GetInstructionId(), Error: "finalizer failed"})
	if err := wait(t, finalized); err == nil || !strings.Contains(err.Error(), "finalizer failed") {
		t.Fatalf("got %v", err)
	}
}

// Other SDKs finalize while bundles run.
func TestFinalizeElsewhereDoesNotWait(t *testing.T) {
	w, f := startFake(t, fnapi.Options{FinalizeHold: time.Hour}, "beam:version:sdk_base:apache/beam_java17_sdk:2.77.0")
	b, _ := bundle("b2", plain())
	ran := start(t.Context(), w, b)
	f.next()
	finalized := make(chan error, 1)
	go func() { finalized <- w.Finalize(t.Context(), "b1") }()
	req := f.next()
	f.respond(&fnpb.InstructionResponse{InstructionId: req.GetInstructionId()})
	if err := wait(t, finalized); err != nil {
		t.Fatal(err)
	}
	f.openData()
	f.input()
	f.answer("b2", &fnpb.ProcessBundleResponse{})
	if o := wait(t, ran); o.err != nil {
		t.Fatal(o.err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	s := serve(t, fnapi.Options{})
	_, f, _ := startFakeOn(t, s, &engine.JobInfo{})
	for _, c := range []struct {
		name string
		ctx  context.Context
		want codes.Code
	}{
		{"no id", t.Context(), codes.InvalidArgument},
		{"two ids", metadata.AppendToOutgoingContext(t.Context(), "worker_id", "w1", "worker_id", "w1"), codes.InvalidArgument},
		{"unknown id", metadata.AppendToOutgoingContext(t.Context(), "worker_id", "w7"), codes.NotFound},
	} {
		calls := map[string]func() error{
			"control": func() error {
				st, err := fnpb.NewBeamFnControlClient(f.conn).Control(c.ctx)
				if err == nil {
					_, err = st.Recv()
				}
				return err
			},
			"descriptor": func() error {
				_, err := fnpb.NewBeamFnControlClient(f.conn).GetProcessBundleDescriptor(c.ctx, &fnpb.GetProcessBundleDescriptorRequest{})
				return err
			},
			"data": func() error {
				st, err := fnpb.NewBeamFnDataClient(f.conn).Data(c.ctx)
				if err == nil {
					_, err = st.Recv()
				}
				return err
			},
			"state": func() error {
				st, err := fnpb.NewBeamFnStateClient(f.conn).State(c.ctx)
				if err == nil {
					_, err = st.Recv()
				}
				return err
			},
			"logging": func() error {
				st, err := fnpb.NewBeamFnLoggingClient(f.conn).Logging(c.ctx)
				if err == nil {
					_, err = st.Recv()
				}
				return err
			},
			"status": func() error {
				st, err := fnpb.NewBeamFnWorkerStatusClient(f.conn).WorkerStatus(c.ctx)
				if err == nil {
					_, err = st.Recv()
				}
				return err
			},
			"provision": func() error {
				_, err := fnpb.NewProvisionServiceClient(f.conn).GetProvisionInfo(c.ctx, &fnpb.GetProvisionInfoRequest{})
				return err
			},
			"resolve": func() error {
				_, err := jobpb.NewArtifactRetrievalServiceClient(f.conn).ResolveArtifacts(c.ctx, &jobpb.ResolveArtifactsRequest{})
				return err
			},
			"artifact": func() error {
				st, err := jobpb.NewArtifactRetrievalServiceClient(f.conn).GetArtifact(c.ctx, &jobpb.GetArtifactRequest{})
				if err == nil {
					_, err = st.Recv()
				}
				return err
			},
		}
		for name, call := range calls {
			if err := call(); status.Code(err) != c.want {
				t.Errorf("%s, %s: got %v, want %v", c.name, name, err, c.want)
			}
		}
	}
	// A second control stream of a worker that has one.
	st, err := fnpb.NewBeamFnControlClient(f.conn).Control(f.ctx)
	if err == nil {
		_, err = st.Recv()
	}
	if status.Code(err) != codes.AlreadyExists {
		t.Errorf("second control stream: %v", err)
	}
}

func TestCloseStopsTheWorker(t *testing.T) {
	s := serve(t, fnapi.Options{})
	w, f, p := startFakeOn(t, s, &engine.JobInfo{})
	b, _ := bundle("b1", plain())
	ran := start(t.Context(), w, b)
	f.next()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if o := wait(t, ran); !errors.Is(o.err, engine.ErrWorkerLost) {
		t.Fatalf("got %v", o.err)
	}
	if req := wait(t, f.requests); req != nil || f.ended != io.EOF {
		t.Fatalf("control stream: got %v and %v, want its end in good order", req, f.ended)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.stopped, []string{"w1"}) {
		t.Fatalf("stopped %v", p.stopped)
	}
	if _, err := s.Status(t.Context(), "w1"); err == nil {
		t.Fatal("the worker is still known")
	}
}
