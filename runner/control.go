package runner

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/summerbeam/summerbeam/runner/engine"
)

// What Beam's Job API has no call for is a service of our own on the same port. Its
// messages are structs, so that it needs no generated code.
//
//	summerbeam.v1.Control/Savepoint {job: id or name, dir: path on the server} -> {}
const controlService = "summerbeam.v1.Control"

// control is implemented by Server.
type control interface {
	Savepoint(job, dir string) error
}

var controlDesc = grpc.ServiceDesc{
	ServiceName: controlService,
	HandlerType: (*control)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Savepoint",
		Handler: func(srv any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var req structpb.Struct
			if err := decode(&req); err != nil {
				return nil, err
			}
			job, dir := req.GetFields()["job"].GetStringValue(), req.GetFields()["dir"].GetStringValue()
			if job == "" || dir == "" {
				return nil, status.Error(codes.InvalidArgument, "which job, and to which directory?")
			}
			err := srv.(control).Savepoint(job, dir)
			switch {
			case errors.Is(err, engine.ErrNoSavepoint):
				return nil, status.Error(codes.FailedPrecondition, err.Error())
			case err != nil:
				return nil, status.Error(codes.Unknown, err.Error())
			}
			return &emptypb.Empty{}, nil
		},
	}},
}

// AskSavepoint asks the server behind a connection for a savepoint.
func AskSavepoint(ctx context.Context, cc grpc.ClientConnInterface, job, dir string) error {
	req, err := structpb.NewStruct(map[string]any{"job": job, "dir": dir})
	if err != nil {
		return err
	}
	return cc.Invoke(ctx, "/"+controlService+"/Savepoint", req, &emptypb.Empty{})
}
