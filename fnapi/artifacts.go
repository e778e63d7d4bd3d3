package fnapi

import (
	"context"
	"io"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ArtifactSource has the files that were staged with a job.
type ArtifactSource interface {
	// ResolveArtifacts returns what took the place of artifacts when the job was
	// staged.
	ResolveArtifacts(ctx context.Context, token string, artifacts []*pipepb.ArtifactInformation) ([]*pipepb.ArtifactInformation, error)
	// OpenArtifact opens an artifact of the job whose retrieval token it is. The
	// artifact is one of an environment's dependencies, but it comes from a
	// worker: its paths are not to be trusted.
	OpenArtifact(ctx context.Context, token string, a *pipepb.ArtifactInformation) (io.ReadCloser, error)
}

// artifactChunk is the size of a message of GetArtifact.
const artifactChunk = 1 << 20

// ResolveArtifacts tells a worker which files stand for its dependencies.
func (sv *services) ResolveArtifacts(ctx context.Context, req *jobpb.ResolveArtifactsRequest) (*jobpb.ResolveArtifactsResponse, error) {
	w, err := sv.s.caller(ctx)
	if err != nil {
		return nil, err
	}
	artifacts := req.GetArtifacts()
	if src := sv.s.opts.Artifacts; src != nil && len(artifacts) > 0 {
		artifacts, err = src.ResolveArtifacts(ctx, w.job.RetrievalToken, artifacts)
		if err != nil {
			return nil, status.Errorf(codes.NotFound, "artifacts of job %s: %v", w.job.ID, err)
		}
	}
	return &jobpb.ResolveArtifactsResponse{Replacements: artifacts}, nil
}

// GetArtifact streams an artifact.
func (sv *services) GetArtifact(req *jobpb.GetArtifactRequest, stream jobpb.ArtifactRetrievalService_GetArtifactServer) error {
	w, err := sv.s.caller(stream.Context())
	if err != nil {
		return err
	}
	src := sv.s.opts.Artifacts
	if src == nil {
		return status.Error(codes.NotFound, "this runner serves no artifacts")
	}
	f, err := src.OpenArtifact(stream.Context(), w.job.RetrievalToken, req.GetArtifact())
	if err != nil {
		return status.Errorf(codes.NotFound, "artifact of job %s: %v", w.job.ID, err)
	}
	defer f.Close()
	buf := make([]byte, artifactChunk)
	for {
		n, err := io.ReadFull(f, buf)
		if n > 0 {
			if err := stream.Send(&jobpb.GetArtifactResponse{Data: buf[:n]}); err != nil {
				return err
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil
		default:
			return status.Errorf(codes.Internal, "artifact of job %s: %v", w.job.ID, err)
		}
	}
}
