package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
	"google.golang.org/protobuf/proto"
)

// A batch job with a name of its own has a home, too, if there is a data directory: when its
// process ends before it, it goes on from the last stage that has ended. Its home differs from
// that of a job without end:
//
//   - What lives in it is known by all that was submitted and not by its shape alone: the same
//     pipeline over another day's files is another job. It begins anew, in the home's place. With
//     --summerbeam_update settings of DoFns may differ, and it goes on.
//   - It is removed when the job fails, as it was always done with batch jobs: who wants to correct
//     a program and go on has the job pause (--summerbeam_on_poison=pause).
//   - While a batch job runs another of its name may, as it always might: in a home of its own.

// nobodys says that nobody comes back under a name: an SDK has made it up, or gives it to all
// pipelines without, as Python's does ("job").
func nobodys(name string) bool { return name == "job" || invented.MatchString(name) }

// batchHome is where a batch job lives, nil if it has nobody to come back. cfg's shards become those
// of what goes on there.
func (j *jobs) batchHome(info *engine.JobInfo, plan *graph.Plan, p *pipepb.Pipeline, cfg *engine.Config) (*home, error) {
	if nobodys(info.Name) {
		return nil, nil
	}
	hash, err := submissionHash(p, info)
	if err != nil {
		return nil, err
	}
	h := &home{
		dir:   filepath.Join(j.dir, "jobs", "batch-"+url.PathEscape(info.Name)),
		batch: true,
		record: homeRecord{
			Version: homeVersion, Name: info.Name, Plan: planHash(plan), Submission: hash, Batch: true,
			Shards: cfg.Core.Shards, StateSlots: cfg.Core.StateSlots, StateShards: cfg.Core.StateShards,
			Created: time.Now().UTC(),
		},
	}
	if own := j.ownHome(info); exists(own) {
		h.dir = own // an earlier process has run it there
	}
	if old, err := h.read(); err == nil && old.Plan == h.record.Plan {
		cfg.Core.Shards, cfg.Core.StateSlots, cfg.Core.StateShards = old.Shards, old.StateSlots, old.StateShards
		h.record.Created = old.Created
		h.record.Shards, h.record.StateSlots, h.record.StateShards = old.Shards, old.StateSlots, old.StateShards
	}
	return h, nil
}

// ownHome is the home of a job that found its name taken.
func (j *jobs) ownHome(info *engine.JobInfo) string {
	return filepath.Join(j.dir, "jobs", "batch-id-"+url.PathEscape(info.ID))
}

func exists(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}

// segments is the directory of the home's segment files.
func (h *home) segments() string { return filepath.Join(h.dir, "segments") }

// goesOn says that what lives here is this very job, by its record. mayDiffer: its payloads need
// not be the same.
func (h *home) goesOn(mayDiffer bool) bool {
	old, err := h.read()
	return err == nil && old.Batch && old.Plan == h.record.Plan && (mayDiffer || old.Submission == h.record.Submission) &&
		old.Shards == h.record.Shards && old.StateSlots == h.record.StateSlots && old.StateShards == h.record.StateShards
}

// openBatch opens the store of a batch job's home, and makes room there if what it has is of another
// job. The caller has entered the home. mayDiffer is goesOn's.
func (h *home) openBatch(open func(dir string) (statebackend.Store, error), info *engine.JobInfo, mayDiffer bool) (statebackend.Store, error) {
	st, err := open(h.store()) // its lock keeps other processes out
	if err != nil || h.goesOn(mayDiffer) {
		return st, err
	}
	if err := st.Close(); err != nil {
		return nil, err
	}
	old, err := h.read()
	switch {
	case err == nil && mayDiffer:
		return nil, fmt.Errorf("a batch job named %q was left in %s with another pipeline, and only the same one can go on with it: say nothing of --%s to begin anew", info.Name, h.dir, optionUpdate)
	case err == nil && old.Paused != nil:
		other := home{dir: h.dir, record: old, aside: &old}
		aside := other.asideDir()
		if err := other.moveAside(); err != nil {
			return nil, err
		}
		info.Log.Warn("a batch job of this name is paused, and is not the same: its state is put aside, and this one begins anew", "name", info.Name, "dir", aside)
	case !errors.Is(err, fs.ErrNotExist):
		info.Log.Warn("a batch job of this name was left here and is not the same: this one begins anew", "name", info.Name, "dir", h.dir)
	}
	for _, what := range []string{h.file(), h.store(), h.segments()} {
		if err := os.RemoveAll(what); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return nil, err
	}
	return open(h.store())
}

// submissionHash tells jobs apart by all that was submitted, but for what says where and how to
// run it.
func submissionHash(p *pipepb.Pipeline, info *engine.JobInfo) (string, error) {
	p = proto.Clone(p).(*pipepb.Pipeline)
	for id := range p.GetComponents().GetEnvironments() {
		p.Components.Environments[id] = &pipepb.Environment{}
	}
	slices.Sort(p.RootTransformIds) // Go's come in any order
	for _, t := range p.GetComponents().GetTransforms() {
		slices.Sort(t.Subtransforms)
		if err := settleParDo(t); err != nil {
			return "", err
		}
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("the pipeline: %w", err)
	}
	sum := sha256.New()
	sum.Write(data)
	given := givenOptions(info.Options)
	for _, name := range sortedNames(given) {
		if !aboutRunning(name) {
			fmt.Fprintf(sum, "%q=%q\n", name, given[name])
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// settleParDo makes two payloads of the same ParDo the same bytes: what they have by name comes in
// any order. So it does in those of Go's reshuffles, which are base64 inside, and say nothing that the
// pipeline's coders don't.
func settleParDo(t *pipepb.PTransform) error {
	if t.GetSpec().GetUrn() != "beam:transform:pardo:v1" {
		return nil
	}
	var pardo pipepb.ParDoPayload
	if err := proto.Unmarshal(t.GetSpec().GetPayload(), &pardo); err != nil {
		return fmt.Errorf("transform %s: ParDo payload: %w", t.GetUniqueName(), err)
	}
	if strings.HasPrefix(pardo.GetDoFn().GetUrn(), "beam:go:transform:reshuffle") {
		pardo.DoFn.Payload = nil
	}
	var err error
	t.Spec.Payload, err = proto.MarshalOptions{Deterministic: true}.Marshal(&pardo)
	return err
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// aboutRunning says that an option is about where and how a pipeline runs, and not what it does.
func aboutRunning(name string) bool {
	switch name {
	case "runner", "endpoint", "job_endpoint", "artifact_endpoint", "environment_type", "environment_config", "environment_options",
		"job_name", "app_name", "experiments", "parallelism", "async", "update", "transform_name_mapping", "worker_binary", "job_server_timeout",
		"sdk_worker_parallelism", "environment_cache_millis", "temp_location", "options_id", "retain_docker":
		return true
	}
	return strings.HasPrefix(name, "summerbeam_")
}
