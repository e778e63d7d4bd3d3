package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/graph"
	"google.golang.org/protobuf/proto"
)

// A job that never ends by itself outlives its process, if there is a data directory:
// it has a home there, jobs/name-NAME, with its store and a record of what it is.
//
// A job is known by its name. Who starts a pipeline under the name of a home goes on
// from the last epoch in it, if the pipeline has the shape of the one that lived there:
// stages, coders and names are the same. What DoFns do inside may change. A pipeline of
// another shape takes the home over if it says so, see update.go.
// The home is removed when the job is done or cancelled. It stays when the process
// ends, and when the job fails; a failed one is put aside, DATA_DIR/failed, when another
// pipeline comes under its name.
type home struct {
	dir    string
	record homeRecord
	// update is how a pipeline of another shape takes over; nil if it has the same.
	update *takeover
	// moved says that the record is this job's.
	moved bool
	// batch: the job that lives here ends by itself. See batch.go.
	batch bool
	// before removes what an update has taken the place of.
	before func() error
	// aside is what the record is to be if the job that lives here has failed, and is to make
	// room for another pipeline; nil if not.
	aside *homeRecord
}

// homeRecord is the content of job.json.
type homeRecord struct {
	Version int
	Name    string
	// Plan is a hash of the pipeline's plan, as people would read it.
	Plan string
	// Job is the id of the job that lives here.
	Job string
	// Shards, StateSlots and StateShards are those the job began with: queues and timers
	// are kept by shard.
	Shards, StateSlots, StateShards int
	Created                         time.Time
	// Generation counts the updates. Store and submission are named by it, so that the
	// record's rename is the moment at which both change.
	Generation int
	// Batch says that the job ends by itself; Submission is a hash of all that was submitted then.
	Batch      bool   `json:",omitempty"`
	Submission string `json:",omitempty"`
	// Failed is why the job failed, empty if it didn't: who starts it again goes on with it,
	// a server doesn't by itself.
	Failed string `json:",omitempty"`
	// Paused is why the job pauses, nil if it doesn't: it is left alone until somebody resumes it
	// or starts it again.
	Paused *pauseRecord `json:",omitempty"`
}

const homeVersion = 2

// openHome finds the job's home, or says where it will be. Nothing is written. cfg's
// shards become those of the home.
func (j *jobs) openHome(info *engine.JobInfo, plan *graph.Plan, cfg *engine.Config) (*home, error) {
	how, err := readUpdateOptions(info.Options)
	if err != nil {
		return nil, err
	}
	h := &home{
		dir: filepath.Join(j.dir, "jobs", "name-"+url.PathEscape(info.Name)),
		record: homeRecord{
			Version: homeVersion, Name: info.Name, Plan: planHash(plan),
			Shards: cfg.Core.Shards, StateSlots: cfg.Core.StateSlots, StateShards: cfg.Core.StateShards,
			Created: time.Now().UTC(),
		},
	}
	if info.Name == "" {
		h.dir = filepath.Join(j.dir, "jobs", info.ID)
	}
	old, err := h.read()
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return nil, err
	}
	fresh := h.record
	h.record = old
	if err := h.compare(plan, how); err != nil {
		if old.Failed == "" || !errors.Is(err, errOtherShape) {
			return nil, err
		}
		fresh.Generation = old.Generation + 1
		h.aside = &fresh
		return h, nil
	}
	cfg.Core.Shards, cfg.Core.StateSlots, cfg.Core.StateShards = old.Shards, old.StateSlots, old.StateShards
	return h, nil
}

// errOtherShape is why a pipeline can't move into a home without a word.
var errOtherShape = errors.New("another shape")

// read reads the record. Its error is fs.ErrNotExist if nobody lives there.
func (h *home) read() (r homeRecord, err error) {
	data, err := os.ReadFile(h.file())
	if err != nil {
		return r, fmt.Errorf("the job's record: %w", err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("the job's record %s is damaged: %w", h.file(), err)
	}
	if r.Version != homeVersion {
		return r, fmt.Errorf("%s was written in format %d, this program reads format %d: go on with the version that wrote it", h.dir, r.Version, homeVersion)
	}
	return r, nil
}

func planHash(plan *graph.Plan) string {
	sum := sha256.Sum256([]byte(plan.String()))
	return hex.EncodeToString(sum[:])
}

func (h *home) file() string  { return filepath.Join(h.dir, "job.json") }
func (h *home) store() string { return filepath.Join(h.dir, generation("store", h.record.Generation)) }

// generation names a file that an update puts another in the place of.
func generation(name string, n int) string {
	if n == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, n)
}

// move writes down who lives here from now on, before the first epoch is written.
func (h *home) move(job string, req *jobpb.PrepareJobRequest) error {
	h.record.Job, h.record.Failed, h.record.Paused = job, "", nil
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return err
	}
	submission, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	if err := replaceFile(h.submission(), submission); err != nil {
		return err
	}
	if err := h.write(); err != nil {
		return err
	}
	h.moved = true
	if h.before == nil {
		return nil
	}
	return h.before()
}

// write makes the record what the home is known by.
func (h *home) write() error {
	data, err := json.MarshalIndent(h.record, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(h.file(), append(data, '\n'))
}

// fail writes down why the job failed.
func (h *home) fail(why error) error {
	h.record.Failed = why.Error()
	return h.write()
}

// replaceFile writes a file by a rename, so that it is there whole or as it was.
func replaceFile(name string, data []byte) error {
	f, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// submission is the file that has what was submitted, for a job that goes on by itself.
func (h *home) submission() string {
	return filepath.Join(h.dir, generation("submission", h.record.Generation)+".pb")
}

// homes are the homes that jobs of this process live in.
type homes struct {
	homesMu sync.Mutex
	// taken has, for each home, what is closed when its job has ended.
	taken map[string]chan struct{}
	// paused are the homes of paused jobs, by their directories.
	paused map[string]pausedHome
}

// moveTimeout is how long a job waits for the one before it. A program that was killed
// and started again is back before the server has given up its workers.
const moveTimeout = 10 * time.Second

// tryEnter is enter, if nobody lives there.
func (h *homes) tryEnter(of *home) (leave func(), ok bool) {
	h.homesMu.Lock()
	defer h.homesMu.Unlock()
	if h.taken[of.dir] != nil {
		return nil, false
	}
	return h.take(of), true
}

// take makes a home taken; homesMu is held.
func (h *homes) take(of *home) (leave func()) {
	if h.taken == nil {
		h.taken = make(map[string]chan struct{})
	}
	mine, dir := make(chan struct{}), of.dir
	h.taken[dir] = mine
	return func() {
		h.homesMu.Lock()
		defer h.homesMu.Unlock()
		delete(h.taken, dir)
		close(mine)
	}
}

// enter takes a home, once the job that lives there has ended; the caller calls leave.
func (h *homes) enter(ctx context.Context, of *home) (leave func(), err error) {
	timeout := time.NewTimer(moveTimeout)
	defer timeout.Stop()
	for {
		h.homesMu.Lock()
		other := h.taken[of.dir]
		if other == nil {
			leave := h.take(of)
			h.homesMu.Unlock()
			return leave, nil
		}
		h.homesMu.Unlock()
		select {
		case <-other:
		case <-timeout.C:
			return nil, fmt.Errorf("a job named %q runs already: give this one another --job_name, or end the other first", of.record.Name)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
