package runner

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/summerbeam/summerbeam/statebackend"
)

// A pipeline without a job name gets one from its SDK, another each time. Such a job is
// durable as others are: a server goes on with it by itself if it can start its workers, and
// within its life it makes the same promises. But nobody starts it again under that name. So the user
// is told, and what is left of such jobs goes when it is old.

// invented are names that SDKs make up: "go-job-1-1764082320000000000" (Go, jobopts.GetJobName) and
// "wordcount-jane-1125141200-1a2b3c4d" (Java, PipelineOptions.JobNameFactory).
var invented = regexp.MustCompile(`^$|^go-job-[0-9]+-[0-9]{16,}$|-[0-9]{10}-[0-9a-f]{1,8}$`)

// unnamedAge is how long the home of a job without a name of its own is kept when it has no
// way to go on.
const unnamedAge = 7 * 24 * time.Hour

// sweepUnnamed removes homes of jobs without names of their own that nobody goes on with: the job
// has failed, or its workers end with its program, and it has been so for long.
func (j *jobs) sweepUnnamed(now time.Time) {
	if j.temp {
		return
	}
	dirs, err := os.ReadDir(filepath.Join(j.dir, "jobs"))
	if err != nil {
		return // there are none; else tenants says why
	}
	for _, d := range dirs {
		h := home{dir: filepath.Join(j.dir, "jobs", d.Name())}
		t, err := h.tenant()
		if err != nil || !invented.MatchString(h.record.Name) || t.failed == "" && startable(t.req) == nil {
			continue
		}
		if old, err := h.unusedSince(now.Add(-unnamedAge)); err != nil || !old {
			continue
		}
		// Whoever has it has the store's lock.
		st, err := j.openStore(h.store(), nil)
		if errors.Is(err, statebackend.ErrLocked) {
			continue
		}
		if err == nil {
			err = st.Close()
		}
		if err == nil || errors.Is(err, statebackend.ErrCorrupt) {
			err = os.RemoveAll(h.dir)
		}
		if err != nil {
			j.cfg.Log.Warn("an old job without a name of its own can't be removed", "dir", h.dir, "error", err)
			continue
		}
		j.cfg.Log.Info("an old job without a name of its own, which nobody could go on with, is removed", "job", t.id, "dir", h.dir)
	}
}

// unusedSince says that nobody has written there since.
func (h *home) unusedSince(t time.Time) (bool, error) {
	for _, name := range []string{h.file(), h.store()} {
		info, err := os.Stat(name)
		if err != nil {
			return false, err
		}
		if info.ModTime().After(t) {
			return false, nil
		}
	}
	return true, nil
}
