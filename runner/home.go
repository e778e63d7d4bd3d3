package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// A job that never ends by itself outlives its process, if there is a data directory:
// it has a home there, jobs/NAME, with its store and a record of what it is.
//
// A job is known by its name. Who starts a pipeline under the name of a home goes on
// from the last epoch in it, if the pipeline has the shape of the one that lived there:
// stages, coders and names are the same. What DoFns do inside may change.
// The home is removed when the job is done or cancelled. It stays when the process
// ends, and when the job fails.
type home struct {
	dir    string
	record homeRecord
}

// homeRecord is the content of job.json.
type homeRecord struct {
	Version int
	Name    string
	// Plan is a hash of the pipeline's plan, as people would read it.
	Plan string
	// Shards, StateSlots and StateShards are those the job began with: queues and timers
	// are kept by shard.
	Shards, StateSlots, StateShards int
	Created                         time.Time
}

const homeVersion = 1

// openHome finds the job's home, or says where it will be. Nothing is written. cfg's
// shards become those of the home.
func (j *jobs) openHome(info *engine.JobInfo, plan *graph.Plan, cfg *engine.Config) (*home, error) {
	sum := sha256.Sum256([]byte(plan.String()))
	h := &home{
		dir: filepath.Join(j.dir, "jobs", "name-"+url.PathEscape(info.Name)),
		record: homeRecord{
			Version: homeVersion, Name: info.Name, Plan: hex.EncodeToString(sum[:]),
			Shards: cfg.Core.Shards, StateSlots: cfg.Core.StateSlots, StateShards: cfg.Core.StateShards,
			Created: time.Now().UTC(),
		},
	}
	if info.Name == "" {
		h.dir = filepath.Join(j.dir, "jobs", info.ID)
	}
	data, err := os.ReadFile(h.file())
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the job's record: %w", err)
	}
	var old homeRecord
	if err := json.Unmarshal(data, &old); err != nil {
		return nil, fmt.Errorf("the job's record %s is damaged: %w", h.file(), err)
	}
	if old.Version != homeVersion {
		return nil, fmt.Errorf("%s was written in format %d, this program reads format %d: go on with the version that wrote it", h.dir, old.Version, homeVersion)
	}
	if old.Plan != h.record.Plan {
		return nil, fmt.Errorf("a job named %q lives in %s, and its pipeline has another shape than this one: "+
			"give this one another --job_name, or remove that directory and with it the other's state", info.Name, h.dir)
	}
	h.record = old
	cfg.Core.Shards, cfg.Core.StateSlots, cfg.Core.StateShards = old.Shards, old.StateSlots, old.StateShards
	return h, nil
}

func (h *home) file() string  { return filepath.Join(h.dir, "job.json") }
func (h *home) store() string { return filepath.Join(h.dir, "store") }

// make writes the record, if there is none: before anything else is in the home.
func (h *home) make() error {
	if _, err := os.Stat(h.file()); err == nil {
		return nil
	}
	data, err := json.MarshalIndent(h.record, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return err
	}
	// By a rename, so that it is there whole or not at all.
	temp := h.file() + ".new"
	if err := os.WriteFile(temp, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, h.file())
}
