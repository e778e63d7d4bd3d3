package job

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/runnerlib"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

func mustBytes(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

func sumOf(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// fileDep is a file of the client's; staged is its staged name, empty for none.
func fileDep(path, sum, staged string) *pipepb.ArtifactInformation {
	info := &pipepb.ArtifactInformation{
		TypeUrn:     typeFile,
		TypePayload: mustBytes(&pipepb.ArtifactFilePayload{Path: path, Sha256: sum}),
		RoleUrn:     "beam:artifact:role:go_worker_binary:v1",
	}
	if staged != "" {
		setName(info, staged)
	}
	return info
}

func setName(info *pipepb.ArtifactInformation, staged string) {
	info.RoleUrn = roleStagingTo
	info.RolePayload = mustBytes(&pipepb.ArtifactStagingToRolePayload{StagedName: staged})
}

// stagingClient answers the server's questions from memory.
type stagingClient struct {
	files map[string][]byte // by path
	// resolve replaces artifacts; nil leaves them as they are.
	resolve func([]*pipepb.ArtifactInformation) []*pipepb.ArtifactInformation
	// chunk sends a file's answer; nil sends it in chunks of 3 bytes.
	chunk func(stream jobpb.ArtifactStagingService_ReverseArtifactRetrievalServiceClient, data []byte) error
	asked []string // paths
}

func dataResponse(data []byte, last bool) *jobpb.ArtifactResponseWrapper {
	return &jobpb.ArtifactResponseWrapper{IsLast: last, Response: &jobpb.ArtifactResponseWrapper_GetArtifactResponse{
		GetArtifactResponse: &jobpb.GetArtifactResponse{Data: data},
	}}
}

// stage has a conversation and returns how it ended, nil for well.
func (c *stagingClient) stage(f *fixture, token string) error {
	stream, err := f.staged.ReverseArtifactRetrievalService(f.ctx)
	if err != nil {
		return err
	}
	defer stream.CloseSend()
	if err := stream.Send(&jobpb.ArtifactResponseWrapper{StagingToken: token}); err != nil {
		return err
	}
	for {
		req, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if r := req.GetResolveArtifact(); r != nil {
			infos := r.GetArtifacts()
			if c.resolve != nil {
				infos = c.resolve(infos)
			}
			if err := stream.Send(&jobpb.ArtifactResponseWrapper{Response: &jobpb.ArtifactResponseWrapper_ResolveArtifactResponse{
				ResolveArtifactResponse: &jobpb.ResolveArtifactsResponse{Replacements: infos},
			}}); err != nil {
				return err
			}
			continue
		}
		var p pipepb.ArtifactFilePayload
		if err := proto.Unmarshal(req.GetGetArtifact().GetArtifact().GetTypePayload(), &p); err != nil {
			return err
		}
		c.asked = append(c.asked, p.GetPath())
		data := c.files[p.GetPath()]
		if c.chunk != nil {
			if err := c.chunk(stream, data); err != nil && err != io.EOF {
				return err
			}
			continue
		}
		for len(data) > 3 {
			if err := stream.Send(dataResponse(data[:3], false)); err != nil {
				break // Recv tells why
			}
			data = data[3:]
		}
		_ = stream.Send(dataResponse(data, true))
	}
}

func (f *fixture) read(token string, info *pipepb.ArtifactInformation) ([]byte, error) {
	r, err := f.server.Artifacts().OpenArtifact(f.ctx, token, info)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// paths lists all below the artifact directory.
func (f *fixture) paths() []string {
	var got []string
	_ = filepath.WalkDir(f.dir, func(p string, _ fs.DirEntry, err error) error {
		if p != f.dir {
			rel, _ := filepath.Rel(f.dir, p)
			got = append(got, rel)
		}
		return err
	})
	return got
}

func TestStaging(t *testing.T) {
	f := newFixture(t)
	one, two := []byte("print('main session')"), []byte("")
	deps := []*pipepb.ArtifactInformation{
		fileDep("/client/one.py", sumOf(one), "one.py"),
		fileDep("/client/two", strings.ToUpper(sumOf(two)), "sub/two"),
		{TypeUrn: typeEmbedded, TypePayload: mustBytes(&pipepb.EmbeddedFilePayload{Data: []byte("inside")}), RoleUrn: "beam:artifact:role:pip_requirements_file:v1"},
	}
	p := pipeline(deps...)
	// A second environment with one of the same files, and one without any.
	p.Components.Environments["other"] = &pipepb.Environment{Dependencies: deps[:1]}
	p.Components.Environments["none"] = &pipepb.Environment{}
	id := f.prepare(p)
	if _, err := f.read(id, deps[0]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before staging: %v", err)
	}
	c := &stagingClient{files: map[string][]byte{"/client/one.py": one, "/client/two": two}}
	if err := c.stage(f, id); err != nil {
		t.Fatal(err)
	}
	if len(c.asked) != 2 {
		t.Errorf("the client was asked for %q", c.asked)
	}
	for i, want := range [][]byte{one, two, []byte("inside")} {
		if got, err := f.read(id, deps[i]); err != nil || !bytes.Equal(got, want) {
			t.Errorf("artifact %d is %q, %v", i, got, err)
		}
	}
	// The Go SDK's workers give artifacts a role of their own before they ask.
	renamed := proto.Clone(deps[0]).(*pipepb.ArtifactInformation)
	setName(renamed, "1-one.py")
	if got, err := f.read(id, renamed); err != nil || !bytes.Equal(got, one) {
		t.Errorf("under another name: %q, %v", got, err)
	}
	if _, err := f.read(id, fileDep("/etc/passwd", "", "")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that was not staged: %v", err)
	}
	if _, err := f.read("job-999", deps[0]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another job's: %v", err)
	}
	for _, path := range f.paths() {
		if strings.Contains(path, "one") || strings.Contains(path, "two") {
			t.Errorf("a name from outside is a path: %q", path)
		}
	}
	// Once more, then never again.
	if err := c.stage(f, id); err != nil {
		t.Fatal(err)
	}
	if got := f.paths(); len(got) != 3 {
		t.Errorf("staged twice, the directory has %q", got)
	}
	if got, err := f.read(id, deps[0]); err != nil || !bytes.Equal(got, one) {
		t.Errorf("staged twice: %q, %v", got, err)
	}
	f.engine.run = untilCancelled
	f.run(id)
	wantCode(t, c.stage(f, id), codes.FailedPrecondition, "runs already")
	if got, err := f.read(id, deps[0]); err != nil || !bytes.Equal(got, one) {
		t.Errorf("while it runs: %q, %v", got, err)
	}
	f.cancel(id)
	f.messages(id)
	if got := f.paths(); len(got) != 0 {
		t.Errorf("after the job's end there are %q", got)
	}
	if _, err := f.read(id, deps[0]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the job's end: %v", err)
	}
}

func TestStagingResolves(t *testing.T) {
	f := newFixture(t)
	deferred := &pipepb.ArtifactInformation{TypeUrn: typeDeferred, TypePayload: []byte("key")}
	resolved := []*pipepb.ArtifactInformation{fileDep("/a", "", "a"), fileDep("/b", "", "b")}
	id := f.prepare(pipeline(deferred))
	c := &stagingClient{
		files:   map[string][]byte{"/a": []byte("aaaa"), "/b": []byte("bb")},
		resolve: func([]*pipepb.ArtifactInformation) []*pipepb.ArtifactInformation { return resolved },
	}
	if err := c.stage(f, id); err != nil {
		t.Fatal(err)
	}
	got, err := f.server.Artifacts().ResolveArtifacts(f.ctx, id, []*pipepb.ArtifactInformation{deferred})
	if err != nil || len(got) != 2 || !proto.Equal(got[0], resolved[0]) || !proto.Equal(got[1], resolved[1]) {
		t.Fatalf("resolved to %v, %v", got, err)
	}
	if b, err := f.read(id, got[0]); err != nil || string(b) != "aaaa" {
		t.Errorf("read %q, %v", b, err)
	}
	other := []*pipepb.ArtifactInformation{fileDep("/x", "", "")}
	if got, err := f.server.Artifacts().ResolveArtifacts(f.ctx, id, other); err != nil || len(got) != 1 || got[0] != other[0] {
		t.Errorf("an unknown one resolved to %v, %v", got, err)
	}
}

// TestStagingRefuses: what can't be staged says why, and nothing is left of it.
func TestStagingRefuses(t *testing.T) {
	good := fileDep("/good", "", "good")
	url := &pipepb.ArtifactInformation{TypeUrn: typeURL, TypePayload: mustBytes(&pipepb.ArtifactUrlPayload{Url: "https://example.com/x.jar"})}
	garbled := fileDep("/x", "", "x")
	garbled.TypePayload = []byte{0xff}
	garbledName := fileDep("/x", "", "x")
	garbledName.RolePayload = []byte{0xff}
	noName := fileDep("/x", "", "x")
	noName.RolePayload = nil
	for _, tc := range []struct {
		name  string
		deps  []*pipepb.ArtifactInformation
		code  codes.Code
		parts []string
	}{
		{"wrong hash", []*pipepb.ArtifactInformation{good, fileDep("/x", sumOf([]byte("other")), "x")}, codes.DataLoss,
			[]string{sumOf([]byte("other")), sumOf([]byte("content of x")), `"/x"`, `"env"`}},
		{"no hash", []*pipepb.ArtifactInformation{fileDep("/x", "abc", "x")}, codes.InvalidArgument, []string{"SHA-256"}},
		{"upwards", []*pipepb.ArtifactInformation{good, fileDep("/x", "", "../x")}, codes.InvalidArgument, []string{`"../x"`, ".."}},
		{"absolute", []*pipepb.ArtifactInformation{fileDep("/x", "", "/etc/x")}, codes.InvalidArgument, []string{"absolute"}},
		{"NUL", []*pipepb.ArtifactInformation{fileDep("/x", "", "a\x00b")}, codes.InvalidArgument, []string{"control character"}},
		{"no name", []*pipepb.ArtifactInformation{noName}, codes.InvalidArgument, []string{"empty"}},
		{"same name", []*pipepb.ArtifactInformation{good, fileDep("/x", "", "good")}, codes.InvalidArgument, []string{"another artifact's"}},
		{"file and directory", []*pipepb.ArtifactInformation{good, fileDep("/x", "", "good/x/y")}, codes.InvalidArgument, []string{"a directory"}},
		{"URL", []*pipepb.ArtifactInformation{good, url}, codes.InvalidArgument, []string{"https://example.com/x.jar", "stage it as a file"}},
		{"deferred", []*pipepb.ArtifactInformation{{TypeUrn: typeDeferred}}, codes.InvalidArgument, []string{"unresolved"}},
		{"unknown type", []*pipepb.ArtifactInformation{{TypeUrn: "beam:artifact:type:pypi:v1"}}, codes.InvalidArgument, []string{"pypi"}},
		{"garbled payload", []*pipepb.ArtifactInformation{garbled}, codes.InvalidArgument, []string{"can't be read"}},
		{"garbled name", []*pipepb.ArtifactInformation{garbledName}, codes.InvalidArgument, []string{"can't be read"}},
		{"garbled embedded", []*pipepb.ArtifactInformation{{TypeUrn: typeEmbedded, TypePayload: []byte{0xff}}}, codes.InvalidArgument, []string{"can't be read"}},
		{"too large", []*pipepb.ArtifactInformation{good, fileDep("/large", "", "large")}, codes.ResourceExhausted, []string{"an artifact may have at most 20 bytes"}},
		{"too many", []*pipepb.ArtifactInformation{fileDep("/x", "", "1"), fileDep("/y", "", "2"), fileDep("/z", "", "3")}, codes.ResourceExhausted, []string{"all artifacts of a job may have at most 30 bytes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t, func(o *Options) { o.ArtifactLimit, o.JobArtifactsLimit = 20, 30 })
			id := f.prepare(pipeline(tc.deps...))
			c := &stagingClient{files: map[string][]byte{
				"/good": []byte("good"), "/x": []byte("content of x"), "/y": []byte("content of y"), "/z": []byte("content of z"),
				"/large": []byte("a file larger than what is allowed"),
			}}
			err := c.stage(f, id)
			wantCode(t, err, tc.code, append(tc.parts, id)...)
			if got := f.paths(); len(got) != 0 {
				t.Errorf("left behind: %q", got)
			}
			if _, err := f.read(id, tc.deps[0]); !errors.Is(err, fs.ErrNotExist) && tc.deps[0].TypeUrn != typeEmbedded {
				t.Errorf("an artifact of a failed session: %v", err)
			}
		})
	}
}

func TestStagingBrokenClients(t *testing.T) {
	type stream = jobpb.ArtifactStagingService_ReverseArtifactRetrievalServiceClient
	for _, tc := range []struct {
		name  string
		chunk func(stream, []byte) error
		code  codes.Code
		part  string
	}{
		{"cut short", func(s stream, data []byte) error {
			_ = s.Send(dataResponse(data[:2], false))
			return s.CloseSend()
		}, codes.DataLoss, "after 2 bytes: the client ended the stream"},
		{"says nothing", func(s stream, _ []byte) error { return s.CloseSend() }, codes.DataLoss, "after 0 bytes"},
		{"other answer", func(s stream, _ []byte) error {
			return s.Send(&jobpb.ArtifactResponseWrapper{Response: &jobpb.ArtifactResponseWrapper_ResolveArtifactResponse{
				ResolveArtifactResponse: &jobpb.ResolveArtifactsResponse{},
			}})
		}, codes.InvalidArgument, "ResolveArtifactResponse"},
		{"no answer", func(s stream, _ []byte) error { return s.Send(&jobpb.ArtifactResponseWrapper{}) }, codes.InvalidArgument, "<nil>"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			dep := fileDep("/x", "", "x")
			id := f.prepare(pipeline(dep))
			files := map[string][]byte{"/x": []byte("content")}
			wantCode(t, (&stagingClient{files: files, chunk: tc.chunk}).stage(f, id), tc.code, tc.part)
			if got := f.paths(); len(got) != 0 {
				t.Errorf("left behind: %q", got)
			}
			// The client may try again.
			if err := (&stagingClient{files: files}).stage(f, id); err != nil {
				t.Fatal(err)
			}
			if got, err := f.read(id, dep); err != nil || string(got) != "content" {
				t.Errorf("read %q, %v", got, err)
			}
		})
	}

	f := newFixture(t)
	wantCode(t, (&stagingClient{}).stage(f, "job-999"), codes.NotFound, "job-999")
	empty, err := f.staged.ReverseArtifactRetrievalService(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	empty.CloseSend()
	_, err = empty.Recv()
	wantCode(t, err, codes.InvalidArgument, "staging token")
}

// TestStagingMeetsOthers: while one client stages, another can't, nor can the job
// run; and when the job ends just then, no file of it is left.
func TestStagingMeetsOthers(t *testing.T) {
	f := newFixture(t)
	id := f.prepare(pipeline(fileDep("/x", "", "x"), fileDep("/y", "", "y")))
	c := &stagingClient{files: map[string][]byte{"/x": []byte("x"), "/y": []byte("y")}}
	n := 0
	c.chunk = func(s jobpb.ArtifactStagingService_ReverseArtifactRetrievalServiceClient, data []byte) error {
		if n++; n == 2 {
			wantCode(t, (&stagingClient{}).stage(f, id), codes.FailedPrecondition, "another client")
			_, err := f.jobs.Run(f.ctx, &jobpb.RunJobRequest{PreparationId: id})
			wantCode(t, err, codes.FailedPrecondition, "still being staged")
			f.cancel(id)
		}
		return s.Send(dataResponse(data, true))
	}
	if err := c.stage(f, id); err == nil {
		t.Error("staging went well for a job that had ended")
	}
	if got := f.paths(); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
}

// TestStagingWithGoSDK stages with the Go SDK's own client.
func TestStagingWithGoSDK(t *testing.T) {
	f := newFixture(t)
	content := bytes.Repeat([]byte("worker binary "), 300_000) // more than one chunk
	path := filepath.Join(t.TempDir(), "worker")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	dep := fileDep(path, sumOf(content), "")
	legacy := &pipepb.ArtifactInformation{TypeUrn: typeGoWorker}
	id := f.prepare(pipeline(dep, legacy))
	if err := runnerlib.StageViaPortableAPI(f.ctx, f.conn, path, id); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*pipepb.ArtifactInformation{dep, legacy} {
		if got, err := f.read(id, d); err != nil || !bytes.Equal(got, content) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
	}

	bad := f.prepare(pipeline(fileDep(path, sumOf(nil), "")))
	err := runnerlib.StageViaPortableAPI(f.ctx, f.conn, path, bad)
	if err == nil || !strings.Contains(err.Error(), sumOf(nil)) || !strings.Contains(err.Error(), sumOf(content)) {
		t.Errorf("a wrong hash gave %v", err)
	}
	// What that client does next.
	put, err := jobpb.NewLegacyArtifactStagingServiceClient(f.conn).PutArtifact(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	_ = put.Send(&jobpb.PutArtifactRequest{Content: &jobpb.PutArtifactRequest_Metadata{
		Metadata: &jobpb.PutArtifactMetadata{StagingSessionToken: bad},
	}})
	_, err = put.CloseAndRecv()
	wantCode(t, err, codes.Unimplemented, sumOf(nil))
}

// TestSweep: a new server removes what an earlier one left, and nothing else.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "job-abc")
	foreign := filepath.Join(dir, "photos")
	for path, name := range map[string]string{mine: "artifact-1-0", foreign: "cat.jpg"} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{name, "artifact-2-11"} {
			if err := os.WriteFile(filepath.Join(path, n), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	s, err := NewServer(Options{Engine: &fakeEngine{}, Dir: dir, Endpoint: func() string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	if _, err := os.Stat(mine); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an old job's directory is still there: %v", err)
	}
	if got, err := os.ReadDir(foreign); err != nil || len(got) != 2 {
		t.Errorf("a foreign directory has %v, %v", got, err)
	}
}
