package job

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// session is one staging session: what it stores is published all at once by
// commit, or removed by abort.
type session struct {
	a      *Artifacts
	token  string
	job    *jobFiles
	number int
	left   int64 // bytes
	stored int   // files
	names  []string
	staged *stagedSet
}

var (
	errUnknownToken = errors.New("there is no prepared job with this staging token; it may have ended or been forgotten")
	errSealed       = errors.New("the job runs already, its artifacts can't change")
	errBusy         = errors.New("another client is just staging the job's artifacts")
)

// begin opens a session. A job may be staged again until it runs; what was staged
// before is replaced.
func (a *Artifacts) begin(token string) (*session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.jobs[token]
	switch {
	case f == nil:
		return nil, errUnknownToken
	case f.sealed:
		return nil, errSealed
	case f.staging:
		return nil, errBusy
	}
	f.staging = true
	f.sessions++
	return &session{
		a: a, token: token, job: f, number: f.sessions, left: a.jobSize,
		staged: &stagedSet{
			files:    make(map[artifactKey]string),
			resolved: make(map[artifactKey][]*pipepb.ArtifactInformation),
		},
	}, nil
}

// store copies an artifact from next, which returns io.EOF behind its last chunk,
// into a file. want is the SHA-256 it should have, in hex; empty: any.
func (s *session) store(info *pipepb.ArtifactInformation, want string, next func() ([]byte, error)) error {
	name := fileNameOf(s.number, len(s.names))
	s.names = append(s.names, name)
	if err := s.a.root.Mkdir(s.token, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := s.a.root.OpenFile(path.Join(s.token, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // a second Close does nothing
	hash := sha256.New()
	var size int64
	for {
		chunk, err := next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", size, err)
		}
		size += int64(len(chunk))
		if size > s.a.fileLimit {
			return &limitError{"an artifact", s.a.fileLimit}
		}
		if size > s.left {
			return &limitError{"all artifacts of a job", s.a.jobSize}
		}
		hash.Write(chunk)
		if _, err := f.Write(chunk); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); want != "" && !strings.EqualFold(got, want) {
		return &hashError{want: want, got: got, size: size}
	}
	s.left -= size
	s.stored++
	s.staged.files[keyOf(info)] = name
	return nil
}

// commit publishes what was stored.
func (s *session) commit() error {
	s.a.mu.Lock()
	if s.a.jobs[s.token] != s.job {
		s.a.mu.Unlock()
		return errUnknownToken // abort cleans up
	}
	s.job.staged, s.staged = s.staged, s.job.staged
	s.job.staging, s.job.failure = false, nil
	s.a.mu.Unlock()
	// What is left to remove is the session's before.
	s.names = nil
	if s.staged != nil {
		s.names = slices.Collect(maps.Values(s.staged.files))
	}
	s.removeFiles()
	return nil
}

// abort ends a session that went wrong because of err, and leaves nothing of it.
func (s *session) abort(err error) {
	s.removeFiles()
	s.a.mu.Lock()
	s.job.staging, s.job.failure = false, err
	s.a.mu.Unlock()
}

func (s *session) removeFiles() {
	for _, name := range s.names {
		if err := s.a.root.Remove(path.Join(s.token, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.a.log.Warn("can't remove an artifact; it goes with its job", "job", s.token, "file", name, "error", err)
		}
	}
	// Nothing of a failed session shall stay, an empty directory included.
	_ = s.a.root.Remove(s.token)
}

// limitError says that a client staged too much.
type limitError struct {
	what  string
	limit int64
}

func (e *limitError) Error() string {
	return fmt.Sprintf("%s may have at most %d bytes here; stage less, or put large files where workers can read them", e.what, e.limit)
}

// hashError says that other bytes came than the pipeline was made for.
type hashError struct {
	want, got string
	size      int64
}

func (e *hashError) Error() string {
	return fmt.Sprintf("the pipeline says it has SHA-256 %s, but the %d bytes received have %s: it changed or was cut short on the way, submit the job again", e.want, e.size, e.got)
}
