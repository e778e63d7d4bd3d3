package runner

import (
	"context"
	"fmt"
	"io"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/rpc"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// The service of a TestStream without a script (beam_interactive_api.proto, TestStreamService)
// is not among the Go SDK's protos. Its one method takes the names of the outputs, field 1
// of its request, and answers with events as they stand in a TestStream's payload.
const (
	testServiceMethod     = "/org.apache.beam.model.interactive.v1.TestStreamService/Events"
	testServiceOutputsTag = 1
)

// callTestService implements engine.Config.TestService.
func callTestService(ctx context.Context, address string, tags []string) (engine.TestFeed, error) {
	conn, err := rpc.Connect(address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, testServiceMethod)
	if err != nil {
		return nil, err
	}
	var fields []byte
	for _, t := range tags {
		fields = protowire.AppendString(protowire.AppendTag(fields, testServiceOutputsTag, protowire.BytesType), t)
	}
	req := &emptypb.Empty{}
	req.ProtoReflect().SetUnknown(fields)
	// An end says that the answer has the reason.
	if err := stream.SendMsg(req); err != nil && err != io.EOF {
		return nil, fmt.Errorf("asking for events: %w", err)
	}
	if err := stream.CloseSend(); err != nil {
		return nil, fmt.Errorf("asking for events: %w", err)
	}
	return testFeed{stream}, nil
}

type testFeed struct{ stream grpc.ClientStream }

// Next implements engine.TestFeed.
func (f testFeed) Next() (*pipepb.TestStreamPayload_Event, error) {
	e := &pipepb.TestStreamPayload_Event{}
	if err := f.stream.RecvMsg(e); err != nil {
		return nil, err
	}
	return e, nil
}
