package runner

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/teststream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/summerbeam/summerbeam/fnapi/inproc"
)

func init() { register.Function1x0(hear) }

var heard struct {
	mu  sync.Mutex
	all []int64
}

func hear(v int64) {
	heard.mu.Lock()
	defer heard.mu.Unlock()
	heard.all = append(heard.all, v)
}

// tellEvents serves a TestStream's events, and then ends with err.
func tellEvents(t *testing.T, tags *[]string, events []*pipepb.TestStreamPayload_Event, err error) (address string) {
	t.Helper()
	l, lerr := net.Listen("tcp", "127.0.0.1:0")
	if lerr != nil {
		t.Fatal(lerr)
	}
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if m, _ := grpc.MethodFromServerStream(stream); m != testServiceMethod {
			return status.Errorf(codes.Unimplemented, "method %s", m)
		}
		req := &emptypb.Empty{}
		if err := stream.RecvMsg(req); err != nil {
			return err
		}
		for b := []byte(req.ProtoReflect().GetUnknown()); len(b) > 0; {
			_, _, n := protowire.ConsumeTag(b)
			v, m := protowire.ConsumeString(b[n:])
			*tags, b = append(*tags, v), b[n+m:]
		}
		for _, e := range events {
			if err := stream.SendMsg(e); err != nil {
				return err
			}
		}
		return err
	}))
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// ours is the environment of this program.
func ours(t *testing.T) *pipepb.Environment {
	t.Helper()
	env, err := graphx.CreateEnvironment(t.Context(), inproc.EnvironmentURN, func(context.Context) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// served makes a pipeline whose TestStream asks a service for what its script says.
func served(t *testing.T, tags *[]string, end error) *pipepb.Pipeline {
	t.Helper()
	con := teststream.NewConfig()
	con.AddElements(1000, int64(1), int64(2))
	con.AdvanceWatermark(60_000)
	con.AdvanceProcessingTime(5)
	con.AddElements(70_000, int64(3))
	con.AdvanceWatermarkToInfinity()
	p := marshal(t, ours(t), func(s beam.Scope) { beam.ParDo0(s, hear, teststream.Create(s, con)) })
	for _, tr := range p.GetComponents().GetTransforms() {
		if tr.GetSpec().GetUrn() != "beam:transform:teststream:v1" {
			continue
		}
		var payload pipepb.TestStreamPayload
		if err := proto.Unmarshal(tr.GetSpec().GetPayload(), &payload); err != nil {
			t.Fatal(err)
		}
		events := payload.Events
		if end != nil {
			events = events[:2] // behind the last the job is done, and asks no more
		}
		address := tellEvents(t, tags, events, end)
		payload.Events, payload.Endpoint = nil, &pipepb.ApiServiceDescriptor{Url: address}
		var err error
		if tr.Spec.Payload, err = proto.Marshal(&payload); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// TestTestStreamService: a TestStream that gets its events from a service plays them as if
// they were its script, and fails its job with the service.
func TestTestStreamService(t *testing.T) {
	for name, end := range map[string]error{"to the end": nil, "broken": status.Error(codes.Internal, "out of tape")} {
		t.Run(name, func(t *testing.T) {
			heard.all = nil
			var tags []string
			_, err := RunEmbedded(t.Context(), Config{}, "served", served(t, &tags, end), nil, inproc.Workers{})
			if len(tags) != 1 {
				t.Errorf("asked for the outputs %q, want one", tags)
			}
			if end != nil {
				if err == nil || !strings.Contains(err.Error(), "out of tape") {
					t.Errorf("the job ended with %v", err)
				}
				return
			}
			slices.Sort(heard.all)
			if err != nil || !slices.Equal(heard.all, []int64{1, 2, 3}) {
				t.Errorf("got %v (%v)", heard.all, err)
			}
		})
	}
}
