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
	"github.com/summerbeam/summerbeam/runner/savepoints"
)

// What Beam's Job API has no call for is a service of our own on the same port. Its
// messages are structs, so that it needs no generated code.
//
//	summerbeam.v1.Control/Savepoint {job: id or name, to: path on the server or URL, keep: number} ->
//	    {id: string, files, sent_files, bytes, sent_bytes: number}
//	summerbeam.v1.Control/Resume    {job: id or name} -> {}
//	summerbeam.v1.Control/States    {} -> {id: string for each job whose state the Job API has no word for}
const controlService = "summerbeam.v1.Control"

// control is implemented by Server.
type control interface {
	Savepoint(ctx context.Context, job, to string, keep int) (*savepoints.Saved, error)
	Resume(ctx context.Context, job string) error
	States() map[string]string
}

var controlDesc = grpc.ServiceDesc{
	ServiceName: controlService,
	HandlerType: (*control)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Savepoint",
		Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var req structpb.Struct
			if err := decode(&req); err != nil {
				return nil, err
			}
			job, to := req.GetFields()["job"].GetStringValue(), req.GetFields()["to"].GetStringValue()
			if job == "" || to == "" {
				return nil, status.Error(codes.InvalidArgument, "which job, and to which directory or URL?")
			}
			done, err := srv.(control).Savepoint(ctx, job, to, int(req.GetFields()["keep"].GetNumberValue()))
			switch {
			case errors.Is(err, engine.ErrNoSavepoint):
				return nil, status.Error(codes.FailedPrecondition, err.Error())
			case err != nil:
				return nil, status.Error(codes.Unknown, err.Error())
			}
			return structpb.NewStruct(map[string]any{
				"id": done.ID, "files": done.Files, "sent_files": done.SentFiles, "bytes": done.Bytes, "sent_bytes": done.SentBytes,
			})
		},
	}, {
		MethodName: "Resume",
		Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var req structpb.Struct
			if err := decode(&req); err != nil {
				return nil, err
			}
			job := req.GetFields()["job"].GetStringValue()
			if job == "" {
				return nil, status.Error(codes.InvalidArgument, "which job?")
			}
			if err := srv.(control).Resume(ctx, job); err != nil {
				return nil, err
			}
			return &emptypb.Empty{}, nil
		},
	}, {
		MethodName: "States",
		Handler: func(srv any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			if err := decode(&emptypb.Empty{}); err != nil {
				return nil, err
			}
			states := &structpb.Struct{Fields: map[string]*structpb.Value{}}
			for id, state := range srv.(control).States() {
				states.Fields[id] = structpb.NewStringValue(state)
			}
			return states, nil
		},
	}},
}

// AskStates asks the server behind a connection for the states that Beam's Job API has no word for, by
// the jobs' ids: StatePaused, which it doesn't tell from a job that was not started yet, and StateDiskFull. A
// server that doesn't know the question has none.
func AskStates(ctx context.Context, cc grpc.ClientConnInterface) (map[string]string, error) {
	var answer structpb.Struct
	err := cc.Invoke(ctx, "/"+controlService+"/States", &emptypb.Empty{}, &answer)
	if status.Code(err) == codes.Unimplemented {
		return nil, nil
	}
	states := make(map[string]string)
	for id, v := range answer.GetFields() {
		states[id] = v.GetStringValue()
	}
	return states, err
}

// AskResume asks the server behind a connection to let a paused job go on.
func AskResume(ctx context.Context, cc grpc.ClientConnInterface, job string) error {
	req, err := structpb.NewStruct(map[string]any{"job": job})
	if err != nil {
		return err
	}
	return cc.Invoke(ctx, "/"+controlService+"/Resume", req, &emptypb.Empty{})
}

// AskSavepoint asks the server behind a connection for a savepoint; see Server.Savepoint.
func AskSavepoint(ctx context.Context, cc grpc.ClientConnInterface, job, to string, keep int) (*savepoints.Saved, error) {
	req, err := structpb.NewStruct(map[string]any{"job": job, "to": to, "keep": keep})
	if err != nil {
		return nil, err
	}
	var resp structpb.Struct
	if err := cc.Invoke(ctx, "/"+controlService+"/Savepoint", req, &resp); err != nil {
		return nil, err
	}
	f := resp.GetFields()
	return &savepoints.Saved{
		ID: f["id"].GetStringValue(), Files: int(f["files"].GetNumberValue()), SentFiles: int(f["sent_files"].GetNumberValue()),
		Bytes: int64(f["bytes"].GetNumberValue()), SentBytes: int64(f["sent_bytes"].GetNumberValue()),
	}, nil
}
