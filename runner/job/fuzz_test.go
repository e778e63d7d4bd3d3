package job

import (
	"io"
	"testing"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/graph"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// fuzzStream is a staging stream whose client says what it was given.
type fuzzStream struct {
	stagingStream
	t       *testing.T
	answers []*jobpb.ArtifactResponseWrapper
}

func (s *fuzzStream) SetHeader(metadata.MD) error { return nil }

func (s *fuzzStream) Send(*jobpb.ArtifactRequestWrapper) error { return nil }

func (s *fuzzStream) Recv() (*jobpb.ArtifactResponseWrapper, error) {
	if len(s.answers) == 0 {
		return nil, io.EOF
	}
	a := s.answers[0]
	s.answers = s.answers[1:]
	return a, nil
}

// FuzzPrepare takes a job through its life with whatever bytes are its request, and
// its artifacts' answer: nothing panics, and a job that was taken ends.
func FuzzPrepare(f *testing.F) {
	seed := &jobpb.PrepareJobRequest{JobName: "seed", Pipeline: pipeline(fileDep("/x", sumOf(nil), "x"), &pipepb.ArtifactInformation{TypeUrn: typeEmbedded})}
	resolved := &jobpb.ArtifactResponseWrapper{Response: &jobpb.ArtifactResponseWrapper_ResolveArtifactResponse{
		ResolveArtifactResponse: &jobpb.ResolveArtifactsResponse{Replacements: []*pipepb.ArtifactInformation{fileDep("/x", "", "a/b")}},
	}}
	f.Add(mustBytes(seed), mustBytes(resolved), []byte("data"))
	f.Add([]byte{}, []byte{}, []byte{})
	f.Add([]byte("\x0a\x00"), []byte("\x12\x02\x0a\x00"), []byte{0xff})
	// The compiler sees every pipeline; what it says of it doesn't matter here, only
	// that it doesn't panic. So jobs of pipelines that make no sense are staged and run too.
	engine := &fakeEngine{prepare: func(_ *engine.JobInfo, p *pipepb.Pipeline) error {
		_, _ = graph.Compile(p)
		return nil
	}}
	f.Add(mustBytes(&jobpb.PrepareJobRequest{Pipeline: goPipeline(f)}), []byte{}, []byte{})
	server, err := NewServer(Options{Engine: engine, Dir: f.TempDir(), Endpoint: func() string { return "" }, Keep: 10})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, request, answer, data []byte) {
		var req jobpb.PrepareJobRequest
		var wrapper jobpb.ArtifactResponseWrapper
		if proto.Unmarshal(request, &req) != nil || proto.Unmarshal(answer, &wrapper) != nil {
			return
		}
		js := jobService{s: server}
		resp, err := js.Prepare(t.Context(), &req)
		if status.Code(err) == codes.Internal {
			t.Fatal(err)
		}
		if err != nil {
			return
		}
		id := resp.GetPreparationId()
		staging := &fuzzStream{t: t, answers: []*jobpb.ArtifactResponseWrapper{
			{StagingToken: id}, &wrapper, dataResponse(data, true), &wrapper, dataResponse(data, false),
		}}
		_ = stagingService{s: server}.ReverseArtifactRetrievalService(staging)
		j := server.registry.get(id)
		for _, env := range req.GetPipeline().GetComponents().GetEnvironments() {
			for _, dep := range env.GetDependencies() {
				if r, err := server.Artifacts().OpenArtifact(t.Context(), id, dep); err == nil {
					r.Close()
				}
			}
		}
		if _, err := js.Run(t.Context(), &jobpb.RunJobRequest{PreparationId: id}); err != nil {
			t.Fatal(err)
		}
		got := transcript(t, j.history)
		if got[len(got)-1] != "DONE" {
			t.Fatalf("messages %q", got)
		}
	})
}
