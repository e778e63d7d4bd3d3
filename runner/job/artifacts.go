package job

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"sync"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// Artifacts are the files that clients have staged for their jobs, until the jobs
// end. They are stored as <dir>/<job>/<number>: no name from outside is ever a
// path here. It is safe for concurrent use.
type Artifacts struct {
	root               *os.Root
	fileLimit, jobSize int64
	log                *slog.Logger

	mu   sync.Mutex
	jobs map[string]*jobFiles // by token
}

// jobFiles are one job's. Its fields are guarded by Artifacts.mu.
type jobFiles struct {
	// dependencies of the pipeline's environments, for each one that has any.
	dependencies map[string][]*pipepb.ArtifactInformation
	// staging says that a session is open, sealed that none may be opened any more.
	staging, sealed bool
	// failure is how the last session went wrong, nil if it went well.
	failure error
	// sessions counts them, for unique file names.
	sessions int
	// staged is nil until a session has ended well.
	staged *stagedSet
}

// stagedSet is what a session brought. It is immutable.
type stagedSet struct {
	// files maps what an artifact is to the file that holds it.
	files map[artifactKey]string
	// resolved maps a list of dependencies to the list that took its place.
	resolved map[artifactKey][]*pipepb.ArtifactInformation
}

// artifactKey is the hash of an artifact's type and payload. The role is no part of
// it: it says where a file goes in the worker, and the Go SDK changes it on the way.
type artifactKey [sha256.Size]byte

func keyOf(infos ...*pipepb.ArtifactInformation) artifactKey {
	h := sha256.New()
	for _, info := range infos {
		fmt.Fprintf(h, "%d:%s%d:", len(info.GetTypeUrn()), info.GetTypeUrn(), len(info.GetTypePayload()))
		h.Write(info.GetTypePayload())
	}
	return artifactKey(h.Sum(nil))
}

// openArtifacts makes dir and removes job directories that another process left, but for
// those of the jobs to keep.
func openArtifacts(dir string, fileLimit, jobSize int64, log *slog.Logger, keep []string) (*Artifacts, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	a := &Artifacts{root: root, fileLimit: fileLimit, jobSize: jobSize, log: log, jobs: make(map[string]*jobFiles)}
	if err := a.sweep(keep); err != nil {
		root.Close()
		return nil, err
	}
	return a, nil
}

// fileName is how fileNameOf names files.
var fileName = regexp.MustCompile(`^artifact-[0-9]+-[0-9]+$`)

func fileNameOf(session, number int) string {
	return fmt.Sprintf("artifact-%d-%d", session, number)
}

// sweep removes directories that hold nothing but files named as we name them. It
// is this picky because a user may point us at a directory with other things in it.
func (a *Artifacts) sweep(keep []string) error {
	entries, err := fs.ReadDir(a.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || slices.Contains(keep, e.Name()) {
			continue
		}
		files, err := fs.ReadDir(a.root.FS(), e.Name())
		if err != nil {
			return err
		}
		foreign := func(f fs.DirEntry) bool {
			return !f.Type().IsRegular() || !fileName.MatchString(f.Name()) && f.Name() != indexName
		}
		if slices.ContainsFunc(files, foreign) {
			continue
		}
		if err := a.root.RemoveAll(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// expect announces a job and what its environments depend on.
func (a *Artifacts) expect(token string, envs map[string]*pipepb.Environment) {
	deps := make(map[string][]*pipepb.ArtifactInformation)
	for id, env := range envs {
		if len(env.GetDependencies()) > 0 {
			deps[id] = env.GetDependencies()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.jobs[token] = &jobFiles{dependencies: deps}
}

// seal ends the time in which a job's artifacts may change. It fails while a
// staging session is open. With index, an index of them is left for a later process.
func (a *Artifacts) seal(token string, index bool) error {
	if err := a.sealNow(token); err != nil || !index {
		return err
	}
	set, err := a.set(token)
	if err != nil || set == nil {
		return nil // it ended, or has none
	}
	return a.writeIndex(token, set)
}

func (a *Artifacts) sealNow(token string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch f := a.jobs[token]; {
	case f == nil:
		return nil // it ended, as its state will tell
	case f.staging:
		return errors.New("its artifacts are still being staged")
	default:
		f.sealed = true
		return nil
	}
}

// remove forgets a job and deletes its files.
func (a *Artifacts) remove(token string) {
	a.mu.Lock()
	_, ok := a.jobs[token]
	delete(a.jobs, token)
	a.mu.Unlock()
	if !ok {
		return
	}
	if err := a.root.RemoveAll(token); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Error("can't remove artifacts of an ended job; they take up space until the next start", "job", token, "error", err)
	}
}

// leave forgets a job and leaves its files to a later process.
func (a *Artifacts) leave(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.jobs, token)
}

func (a *Artifacts) close() error {
	a.mu.Lock()
	tokens := slices.Collect(maps.Keys(a.jobs))
	a.mu.Unlock()
	for _, t := range tokens {
		a.remove(t)
	}
	return a.root.Close()
}

// ResolveArtifacts returns the artifacts that took the place of infos when they were
// staged: infos itself where the client changed nothing.
func (a *Artifacts) ResolveArtifacts(_ context.Context, token string, infos []*pipepb.ArtifactInformation) ([]*pipepb.ArtifactInformation, error) {
	set, err := a.set(token)
	if err != nil {
		return nil, err
	}
	if set != nil {
		if resolved, ok := set.resolved[keyOf(infos...)]; ok {
			return resolved, nil
		}
	}
	return infos, nil
}

// OpenArtifact opens the bytes of an artifact of the job that token names. The error
// has fs.ErrNotExist in its chain when the job has ended or never had the artifact.
func (a *Artifacts) OpenArtifact(_ context.Context, token string, info *pipepb.ArtifactInformation) (io.ReadCloser, error) {
	set, err := a.set(token)
	if err != nil {
		return nil, err
	}
	if info.GetTypeUrn() == typeEmbedded {
		var p pipepb.EmbeddedFilePayload
		if err := proto.Unmarshal(info.GetTypePayload(), &p); err != nil {
			return nil, fmt.Errorf("%s: its payload can't be read: %w", describe(info), err)
		}
		return io.NopCloser(bytes.NewReader(p.GetData())), nil
	}
	if set == nil {
		return nil, fmt.Errorf("%s: nothing was staged for job %s: %w", describe(info), token, fs.ErrNotExist)
	}
	name, ok := set.files[keyOf(info)]
	if !ok {
		return nil, fmt.Errorf("%s: not among what was staged for job %s: %w", describe(info), token, fs.ErrNotExist)
	}
	f, err := a.root.Open(path.Join(token, name))
	if err != nil {
		return nil, fmt.Errorf("%s of job %s: %w", describe(info), token, err)
	}
	return f, nil
}

// set returns what was staged for a job, nil if nothing was.
func (a *Artifacts) set(token string) (*stagedSet, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.jobs[token]
	if f == nil {
		return nil, fmt.Errorf("job %q is not here, or has ended: %w", token, fs.ErrNotExist)
	}
	return f.staged, nil
}
