package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A savepoint is a directory with what a job can go on from, on another machine too: its
// home, and the artifacts that its workers need.
//
//	savepoint.json   what it is; written last
//	home/            job.json, submission.pb, store/
//	artifacts/       those of the job
type savepoint struct {
	Version   int
	Job, Name string
	// Home is the name of the job's home among others.
	Home    string
	Created time.Time
}

const savepointVersion = 1

// Savepoint makes a savepoint of a running job, of which the id or the name is given, in
// a directory that is not there yet or empty. The job runs on.
func (s *Server) Savepoint(job, dir string) (err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	for _, e := range s.jobs.live.all() {
		if e.info.ID == job || e.info.Name == job {
			return e.savepoint(dir, s.jobs.artifactsDir())
		}
	}
	return fmt.Errorf("no job %q runs", job)
}

func (j *jobs) artifactsDir() string { return filepath.Join(j.dir, "artifacts") }

func (e *execution) savepoint(dir, artifacts string) (err error) {
	if e.home == nil {
		return e.Job.Savepoint("")
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty: a savepoint needs a directory of its own", dir)
	}
	if err := os.MkdirAll(filepath.Join(dir, "home"), 0o755); err != nil {
		return err
	}
	// What the store is called is known when it is open, and then it is copied.
	copied := filepath.Join(dir, "home", "copied")
	if err := e.Job.Savepoint(copied); err != nil {
		return err
	}
	if err := os.Rename(copied, filepath.Join(dir, "home", filepath.Base(e.home.store()))); err != nil {
		return err
	}
	for _, name := range []string{e.home.file(), e.home.submission()} {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := replaceFile(filepath.Join(dir, "home", filepath.Base(name)), data); err != nil {
			return err
		}
	}
	err = os.CopyFS(filepath.Join(dir, "artifacts"), os.DirFS(filepath.Join(artifacts, e.info.ID)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := json.MarshalIndent(savepoint{
		Version: savepointVersion, Job: e.info.ID, Name: e.info.Name, Home: filepath.Base(e.home.dir), Created: time.Now().UTC(),
	}, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, "savepoint.json"), append(data, '\n'))
}

// Restore puts a savepoint into a data directory, where no job of that name may live. A
// server that is started on the directory then goes on with the job, or the job's program
// does. It returns the job's name.
func Restore(dir, dataDir string) (name string, err error) {
	data, err := os.ReadFile(filepath.Join(dir, "savepoint.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is no savepoint, or not a whole one: it has no savepoint.json", dir)
	}
	if err != nil {
		return "", err
	}
	var sp savepoint
	if err := json.Unmarshal(data, &sp); err != nil {
		return "", fmt.Errorf("savepoint.json is damaged: %w", err)
	}
	if sp.Version != savepointVersion {
		return "", fmt.Errorf("the savepoint was written in format %d, this program reads format %d", sp.Version, savepointVersion)
	}
	if !filepath.IsLocal(sp.Home) || !filepath.IsLocal(sp.Job) || filepath.Base(sp.Home) != sp.Home || filepath.Base(sp.Job) != sp.Job {
		return "", fmt.Errorf("savepoint.json names %q and %q, which are no directories of ours", sp.Home, sp.Job)
	}
	home := filepath.Join(dataDir, "jobs", sp.Home)
	if _, err := os.Stat(home); err == nil {
		return "", fmt.Errorf("a job named %q lives in %s already: remove that first, or choose another data directory", sp.Name, home)
	}
	if err := os.MkdirAll(filepath.Join(dataDir, "jobs"), 0o755); err != nil {
		return "", err
	}
	artifacts := filepath.Join(dataDir, "artifacts", sp.Job)
	err = os.CopyFS(artifacts, os.DirFS(filepath.Join(dir, "artifacts")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	// Whole or not at all: a server that starts in the middle must not see half of it.
	temp := home + ".restoring"
	if err := os.RemoveAll(temp); err != nil {
		return "", err
	}
	if err := os.CopyFS(temp, os.DirFS(filepath.Join(dir, "home"))); err != nil {
		return "", errors.Join(err, os.RemoveAll(temp))
	}
	return sp.Name, os.Rename(temp, home)
}
