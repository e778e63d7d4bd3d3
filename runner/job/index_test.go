package job

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// What one process has staged another one has, and nothing else.
func TestArtifactsOfAnEarlierProcess(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	open := func(keep ...string) *Artifacts {
		a, err := openArtifacts(dir, 1<<20, 1<<20, log, keep)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	dep := fileDep("/somewhere/main", "", "worker")
	envs := map[string]*pipepb.Environment{"go": {Dependencies: []*pipepb.ArtifactInformation{dep}}}
	stage := func(a *Artifacts, token string) {
		a.expect(token, envs)
		s, err := a.begin(token)
		if err != nil {
			t.Fatal(err)
		}
		sent := false
		err = s.store(dep, "", func() ([]byte, error) {
			if sent {
				return nil, io.EOF
			}
			sent = true
			return []byte("binary of " + token), nil
		})
		if err == nil {
			s.staged.resolved[keyOf(dep)] = []*pipepb.ArtifactInformation{dep, dep}
			err = s.commit()
		}
		if err == nil {
			err = a.seal(token, true)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	first := open()
	stage(first, "stays")
	stage(first, "goes")
	first.leave("stays")
	first.leave("goes")
	if err := first.close(); err != nil {
		t.Fatal(err)
	}

	second := open("stays")
	defer second.close()
	second.expect("stays", envs)
	if err := second.adopt("stays"); err != nil {
		t.Fatal(err)
	}
	r, err := second.OpenArtifact(context.Background(), "stays", dep)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); err != nil || string(data) != "binary of stays" {
		t.Errorf("got %q, %v", data, err)
	}
	if infos, err := second.ResolveArtifacts(context.Background(), "stays", []*pipepb.ArtifactInformation{dep}); err != nil || len(infos) != 2 {
		t.Errorf("resolved %v, %v", infos, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "goes")); !os.IsNotExist(err) {
		t.Errorf("what nobody keeps is there: %v", err)
	}
}

func FuzzReadIndex(f *testing.F) {
	f.Add([]byte(`{"Files":{"00":"artifact-1-0"},"Resolved":{}}`))
	f.Add([]byte(`{"Files":{"x":"../../etc/passwd"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := readIndex(data)
		if err != nil {
			return
		}
		for _, name := range set.files {
			if !fileName.MatchString(name) {
				t.Errorf("took the name %q", name)
			}
		}
	})
}
