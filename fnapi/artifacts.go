package fnapi

import (
	"context"
	"io"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ArtifactSource opens the files that were staged with a job.
type ArtifactSource interface {
	// OpenArtifact opens an artifact of the job whose retrieval token it is. The
	// artifact is one of an environment's dependencies, but it comes from a
	// worker: its paths are not to be trusted.
	OpenArtifact(ctx context.Context, token string, a *pipepb.ArtifactInformation) (io.ReadCloser, error)
}

// artifactChunk is the size of a message of GetArtifact.
const artifactChunk = 1 << 20

// ResolveArtifacts returns the artifacts as they are: they were resolved when the
// job was staged.
func (sv *services) ResolveArtifacts(ctx context.Context, req *jobpb.ResolveArtifactsRequest) (*jobpb.ResolveArtifactsResponse, error) {
	if _, err := sv.s.caller(ctx); err != nil {
		return nil, err
	}
	return &jobpb.ResolveArtifactsResponse{Replacements: req.GetArtifacts()}, nil
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
