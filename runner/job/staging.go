package job

import (
	"errors"
	"fmt"
	"io"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// URNs of artifact types and roles (Beam: StandardArtifacts in beam_runner_api.proto).
const (
	typeFile     = "beam:artifact:type:file:v1"
	typeURL      = "beam:artifact:type:url:v1"
	typeEmbedded = "beam:artifact:type:embedded:v1"
	typeDeferred = "beam:artifact:type:deferred:v1"
	// The Go SDK's type of old for its own binary.
	typeGoWorker = "beam:artifact:type:go_worker_binary:v1"

	roleStagingTo = "beam:artifact:role:staging_to:v1"
)

// stagingService implements Beam's ArtifactStagingService.
type stagingService struct {
	jobpb.UnimplementedArtifactStagingServiceServer
	s *Server
}

type stagingStream = jobpb.ArtifactStagingService_ReverseArtifactRetrievalServiceServer

// ReverseArtifactRetrievalService is a conversation in which the server asks: after
// the client has sent its staging token, the server has it resolve the dependencies
// of each environment, and then asks for each of them. The stream ends without
// an error when all are stored; otherwise none are.
func (ss stagingService) ReverseArtifactRetrievalService(stream stagingStream) error {
	first, err := stream.Recv()
	if err == io.EOF {
		return statusText(codes.InvalidArgument, "the stream ended before its staging token")
	}
	if err != nil {
		return err
	}
	token := first.GetStagingToken()
	sess, err := ss.s.artifacts.begin(token)
	if err != nil {
		return statusText(stagingCode(err), fmt.Sprintf("staging artifacts of job %q: %v", token, err))
	}
	if err := (&stager{stream: stream, session: sess}).run(); err != nil {
		err = fmt.Errorf("staging artifacts of job %q: %w", token, err)
		sess.abort(err)
		ss.s.opts.Log.Warn("staging failed", "job", token, "error", err)
		return statusText(stagingCode(err), err.Error())
	}
	ss.s.opts.Log.Info("artifacts staged", "job", token, "files", sess.stored, "bytes", ss.s.artifacts.jobSize-sess.left)
	return nil
}

func stagingCode(err error) codes.Code {
	var limit *limitError
	var hash *hashError
	var refused *refusedError
	switch {
	case errors.Is(err, errUnknownToken):
		return codes.NotFound
	case errors.Is(err, errSealed), errors.Is(err, errBusy):
		return codes.FailedPrecondition
	case errors.As(err, &limit):
		return codes.ResourceExhausted
	case errors.As(err, &hash), errors.Is(err, errCutShort):
		return codes.DataLoss
	case errors.As(err, &refused):
		return codes.InvalidArgument
	}
	return codes.Internal
}

// refusedError says why an artifact can't be taken, to the user who offered it.
type refusedError struct{ reason string }

func (e *refusedError) Error() string { return e.reason }

func refuse(format string, args ...any) error {
	return &refusedError{fmt.Sprintf(format, args...)}
}

var errCutShort = errors.New("the client ended the stream before its last chunk")

// stager has one conversation.
type stager struct {
	stream  stagingStream
	session *session
}

func (st *stager) run() error {
	deps := st.session.job.dependencies
	for _, env := range sortedKeys(deps) {
		if err := st.environment(deps[env]); err != nil {
			return fmt.Errorf("environment %q: %w", env, err)
		}
	}
	return st.session.commit()
}

func (st *stager) environment(deps []*pipepb.ArtifactInformation) error {
	resolved, err := st.resolve(deps)
	if err != nil {
		return err
	}
	// All is checked before any is fetched: a bad name shows at once, not behind a
	// gigabyte.
	if err := checkNames(resolved); err != nil {
		return err
	}
	for _, info := range resolved {
		if err := checkType(info); err != nil {
			return fmt.Errorf("%s: %w", describe(info), err)
		}
	}
	st.session.staged.resolved[keyOf(deps...)] = resolved
	for _, info := range resolved {
		if _, ok := st.session.staged.files[keyOf(info)]; ok {
			continue // another environment's too
		}
		if err := st.fetch(info); err != nil {
			return fmt.Errorf("%s: %w", describe(info), err)
		}
	}
	return nil
}

// resolve has the client replace artifacts that only it understands.
func (st *stager) resolve(deps []*pipepb.ArtifactInformation) ([]*pipepb.ArtifactInformation, error) {
	err := st.stream.Send(&jobpb.ArtifactRequestWrapper{
		Request: &jobpb.ArtifactRequestWrapper_ResolveArtifact{
			ResolveArtifact: &jobpb.ResolveArtifactsRequest{
				Artifacts:     deps,
				PreferredUrns: []string{typeFile, typeEmbedded},
			},
		},
	})
	if err != nil {
		return nil, err
	}
	resp, err := st.recv()
	if err != nil {
		return nil, fmt.Errorf("resolving %d artifacts: %w", len(deps), err)
	}
	r := resp.GetResolveArtifactResponse()
	if r == nil {
		return nil, refuse("the client answered the request to resolve artifacts with %T", resp.GetResponse())
	}
	return r.GetReplacements(), nil
}

// checkType refuses what can't be fetched.
func checkType(info *pipepb.ArtifactInformation) error {
	switch urn := info.GetTypeUrn(); urn {
	case typeFile:
		var p pipepb.ArtifactFilePayload
		if err := proto.Unmarshal(info.GetTypePayload(), &p); err != nil {
			return refuse("its payload can't be read: %v", err)
		}
		return checkHash(p.GetSha256())
	case typeEmbedded:
		var p pipepb.EmbeddedFilePayload
		if err := proto.Unmarshal(info.GetTypePayload(), &p); err != nil {
			return refuse("its payload can't be read: %v", err)
		}
		return nil
	case typeGoWorker:
		return nil
	case typeURL:
		return refuse("artifacts are not downloaded from URLs here: download it and stage it as a file")
	case typeDeferred:
		return refuse("the client left a deferred artifact unresolved: only the SDK or expansion service that made it can turn it into a file")
	default:
		return refuse("artifact type %q is not known here: the submitting SDK has to resolve it to a file", urn)
	}
}

func (st *stager) fetch(info *pipepb.ArtifactInformation) error {
	var want string
	switch info.GetTypeUrn() {
	case typeEmbedded:
		// It came with the pipeline and is served from there. Only what is fetched
		// takes up space of its own.
		return nil
	case typeFile:
		var p pipepb.ArtifactFilePayload
		if err := proto.Unmarshal(info.GetTypePayload(), &p); err != nil {
			return err
		}
		want = p.GetSha256()
	}
	err := st.stream.Send(&jobpb.ArtifactRequestWrapper{
		Request: &jobpb.ArtifactRequestWrapper_GetArtifact{
			GetArtifact: &jobpb.GetArtifactRequest{Artifact: info},
		},
	})
	if err != nil {
		return err
	}
	last := false
	return st.session.store(info, want, func() ([]byte, error) {
		if last {
			return nil, io.EOF
		}
		resp, err := st.recv()
		if err != nil {
			return nil, err
		}
		last = resp.GetIsLast()
		chunk := resp.GetGetArtifactResponse()
		if chunk == nil && !last {
			return nil, refuse("the client answered the request for an artifact with %T", resp.GetResponse())
		}
		return chunk.GetData(), nil
	})
}

// recv returns the client's next answer, errCutShort if there is none.
func (st *stager) recv() (*jobpb.ArtifactResponseWrapper, error) {
	resp, err := st.stream.Recv()
	if err == io.EOF {
		return nil, errCutShort
	}
	return resp, err
}

// legacyStagingService answers the Go SDK, which turns to this service of old
// when staging has failed, and shows its user only what this one says. It says why
// staging failed.
type legacyStagingService struct {
	jobpb.UnimplementedLegacyArtifactStagingServiceServer
	s *Server
}

func (ls legacyStagingService) PutArtifact(stream jobpb.LegacyArtifactStagingService_PutArtifactServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	token := first.GetMetadata().GetStagingSessionToken()
	a := ls.s.artifacts
	a.mu.Lock()
	var failure error
	if f := a.jobs[token]; f != nil {
		failure = f.failure
	}
	a.mu.Unlock()
	if failure == nil {
		failure = errors.New("artifacts are staged with ReverseArtifactRetrievalService here")
	}
	return statusText(codes.Unimplemented, failure.Error())
}
