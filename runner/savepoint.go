package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/savepoints"
)

// A savepoint is what a job can go on from, on another machine too: its home, and the
// artifacts that its workers need. In a savepoint's place (see package savepoints) they are
//
//	home/        job.json, submission.pb, store/
//	artifacts/   those of the job

// Savepoint makes a savepoint of a running job, of which the id or the name is given, in a directory
// or under a URL. The job runs on: it meets no more than the store's own checkpoint, which is hard links;
// files are read and sent from those. With keep above 0 the last keep savepoints of the job stay there,
// this one among them, and others are removed. Safe for concurrent use; those of one job
// come one after another.
func (s *Server) Savepoint(ctx context.Context, job, to string, keep int) (*savepoints.Saved, error) {
	for _, e := range s.jobs.live.all() {
		if e.info.ID == job || e.info.Name == job {
			return e.savepoint(ctx, to, keep)
		}
	}
	for _, p := range s.jobs.homes.allPaused() {
		if p.id == job || p.name == job {
			return nil, fmt.Errorf("%w of job %q: it is paused, and has to run. Let it go on (summerbeam resume %s), or stop the server and copy its data directory", engine.ErrNoSavepoint, job, job)
		}
	}
	return nil, fmt.Errorf("%w: no job %q runs here (summerbeam jobs tells which do)", engine.ErrNoSavepoint, job)
}

// nothingToSave says why a job has no savepoints, and what to do in their place. It is nil for one
// that has.
func (e *execution) nothingToSave() error {
	var why string
	switch {
	case e.home != nil && !e.home.batch:
		return nil
	case e.jobs.temp:
		why = "the server has no data directory, so its jobs end with it. Start it with --data_dir=DIR, and the job anew"
	case e.home != nil:
		why = "it has an end, and savepoints are of jobs that have none. It needs none to go on: started again under its name it begins with the last stage " +
			"that it had not finished. To take it to another machine, stop the server and copy its data directory"
	case e.hasEnd:
		why = "it has an end, and savepoints are of jobs that have none. With a --job_name of its own it goes on with the last stage that it had not finished when it is started again"
	default:
		why = "its TestStream gets its events from a service, which tells each of them once"
	}
	return fmt.Errorf("%w of job %q: %s", engine.ErrNoSavepoint, e.info.Name, why)
}

func (j *jobs) artifactsDir() string { return filepath.Join(j.dir, "artifacts") }

func (e *execution) savepoint(ctx context.Context, to string, keep int) (done *savepoints.Saved, err error) {
	if err := e.nothingToSave(); err != nil {
		return nil, err
	}
	e.saveMu.Lock()
	defer e.saveMu.Unlock()
	place, err := savepoints.Open(ctx, to)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, place.Close()) }()
	// Beside the store, since hard links don't leave a file system.
	copied := e.home.saving()
	if err := os.RemoveAll(copied); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(copied, 0o755); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(copied)) }()
	// What the store is called is known when it is open, and then it is copied.
	began := time.Now()
	checkpoint := filepath.Join(copied, "checkpoint")
	if err := e.Job.Savepoint(checkpoint); err != nil {
		return nil, err
	}
	linked := time.Since(began)
	if err := os.Rename(checkpoint, filepath.Join(copied, filepath.Base(e.home.store()))); err != nil {
		return nil, err
	}
	for _, name := range []string{e.home.file(), e.home.submission()} {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := replaceFile(filepath.Join(copied, filepath.Base(name)), data); err != nil {
			return nil, err
		}
	}
	m := &savepoints.Manifest{Job: e.info.ID, Name: e.info.Name, Home: filepath.Base(e.home.dir)}
	done, err = place.Save(ctx, m, map[string]string{"home": copied, "artifacts": filepath.Join(e.jobs.artifactsDir(), e.info.ID)})
	if err != nil {
		return nil, err
	}
	e.info.Log.Info("savepoint", "to", to, "id", done.ID, "files", done.Files, "bytes", done.Bytes,
		"sent_files", done.SentFiles, "sent_bytes", done.SentBytes, "checkpoint", linked, "took", time.Since(began))
	if keep > 0 {
		_, err = place.Prune(ctx, m.Home, keep)
	}
	return done, err
}

// saving is where a savepoint is made. Who opens the store removes what a crash has left.
func (h *home) saving() string { return filepath.Join(h.dir, "saving") }

// Restore puts a savepoint into a data directory, where no job of that name may live. A
// server that is started on the directory then goes on with the job, or the job's program
// does. The savepoint is the last in the directory or under the URL, or the one with the id; the
// job's name is needed if there are savepoints of several. All files are checked against
// the hashes that they had. It returns the job's name.
func Restore(ctx context.Context, from, name, id, dataDir string) (job string, err error) {
	if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) && !IsURL(from) {
		return "", fmt.Errorf("%s is not there", from)
	}
	place, err := savepoints.Open(ctx, from)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, place.Close()) }()
	m, err := place.Find(ctx, name, id)
	if err != nil {
		return "", err
	}
	if filepath.Base(m.Home) != m.Home || filepath.Base(m.Job) != m.Job || !filepath.IsLocal(m.Home) || !filepath.IsLocal(m.Job) {
		return "", fmt.Errorf("savepoint %s names %q and %q, which are no directories of ours", m.ID, m.Home, m.Job)
	}
	home := filepath.Join(dataDir, "jobs", m.Home)
	if _, err := os.Stat(home); err == nil {
		return "", fmt.Errorf("a job named %q lives in %s already: remove that first, or choose another data directory", m.Name, home)
	}
	if err := os.MkdirAll(filepath.Join(dataDir, "jobs"), 0o755); err != nil {
		return "", err
	}
	// Whole or not at all: a server that starts in the middle must not see half of it.
	temp := filepath.Join(dataDir, "restoring", m.Home)
	if err := os.RemoveAll(temp); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	if err := place.Load(ctx, m, temp); err != nil {
		return "", err
	}
	artifacts := filepath.Join(dataDir, "artifacts", m.Job)
	if _, err := os.Stat(filepath.Join(temp, "artifacts")); err == nil {
		if err := os.MkdirAll(filepath.Dir(artifacts), 0o755); err != nil {
			return "", err
		}
		if err := os.RemoveAll(artifacts); err != nil {
			return "", err
		}
		if err := os.Rename(filepath.Join(temp, "artifacts"), artifacts); err != nil {
			return "", err
		}
	}
	return m.Name, os.Rename(filepath.Join(temp, "home"), home)
}

// IsURL tells a URL from a path.
func IsURL(s string) bool { return urlScheme.MatchString(s) }

var urlScheme = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://`)
