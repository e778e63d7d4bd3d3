package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/capsule"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"google.golang.org/protobuf/proto"
)

// A bundle that fails for good is saved as a capsule, which Replay runs again. What it asked of
// state can't be asked again later, so it is recorded in the attempt that may be the last: the
// one whose failure the core would act on (core.RunBundle.Last).

// Capsules says where capsules go and how many there may be. Without a Dir there are none.
type Capsules struct {
	Dir string
	// Keep is how many are kept in Dir (default 50), of all jobs: the oldest go.
	Keep int
	// Bytes bounds what is recorded for one (default 64 MiB): a larger bundle gets none.
	Bytes int64
}

func (c Capsules) withDefaults() Capsules {
	if c.Keep <= 0 {
		c.Keep = 50
	}
	if c.Bytes <= 0 {
		c.Bytes = 64 << 20
	}
	return c
}

const capsuleExt = ".capsule.zip"

// recorder is a bundle's State that remembers what the bundle is given.
type recorder struct {
	State
	desc   *fnpb.ProcessBundleDescriptor
	source string
	limit  int64

	givenMu sync.Mutex
	// bytes is the size of all below; over the limit nothing more is kept.
	bytes  int64
	input  []byte
	timers []capsule.Timers
	state  []capsule.Answer
}

// record lets a bundle be recorded from now on.
func (j *Job) record(b *Bundle) *recorder {
	r := &recorder{State: b.State, desc: b.Descriptor, source: b.Source, limit: j.cfg.Capsules.Bytes}
	b.State = r
	b.Input = r.inputs(b.Input)
	if b.Timers != nil {
		b.Timers = r.fired(b.Timers)
	}
	return r
}

// room says that n bytes more can be kept. givenMu is held.
func (r *recorder) room(n int) bool {
	r.bytes += int64(n)
	return r.bytes <= r.limit
}

func (r *recorder) inputs(in iter.Seq2[[]byte, error]) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for data, err := range in {
			r.givenMu.Lock()
			if err == nil && r.room(len(data)) {
				r.input = append(r.input, data...)
			}
			r.givenMu.Unlock()
			if !yield(data, err) {
				return
			}
		}
	}
}

func (r *recorder) fired(in iter.Seq2[TimerChunk, error]) iter.Seq2[TimerChunk, error] {
	return func(yield func(TimerChunk, error) bool) {
		for c, err := range in {
			r.givenMu.Lock()
			if err == nil && r.room(len(c.Data)) {
				r.timers = append(r.timers, capsule.Timers{Family: capsule.Family(c.TimerFamily), Data: bytes.Clone(c.Data)})
			}
			r.givenMu.Unlock()
			if !yield(c, err) {
				return
			}
		}
	}
}

// Get implements State.
func (r *recorder) Get(ctx context.Context, key *fnpb.StateKey, token []byte) (data, next []byte, err error) {
	data, next, err = r.State.Get(ctx, key, token)
	r.givenMu.Lock()
	defer r.givenMu.Unlock()
	if !r.room(len(data) + len(token) + len(next)) {
		return data, next, err
	}
	a := capsule.Answer{Key: proto.Clone(key).(*fnpb.StateKey), Token: bytes.Clone(token), Data: bytes.Clone(data), Next: bytes.Clone(next)}
	if err != nil {
		a.Err = err.Error()
	}
	r.state = append(r.state, a)
	return data, next, err
}

// saveCapsule saves a bundle that has failed, if it was recorded, and returns its failure with
// a word about it. A capsule that can't be saved is no reason for anything.
func (j *Job) saveCapsule(a core.RunBundle, r *runningBundle, failure error) error {
	rec := r.recorded
	if rec == nil {
		return failure
	}
	rec.givenMu.Lock()
	defer rec.givenMu.Unlock()
	if rec.bytes > rec.limit {
		j.info.Log.Warn("a bundle that failed for good is too large for a capsule", "stage", r.stage.plan.Name, "bytes", rec.bytes, "most", rec.limit)
		return failure
	}
	st := r.stage
	c := &capsule.Capsule{
		Header: capsule.Header{
			Job: j.info.ID, Name: j.info.Name, Stage: st.plan.ID, Transform: st.blame(failure.Error()),
			Source: rec.source, Elements: st.countElements(rec.input, r.elements), Attempt: a.Attempt, Time: time.Now().UTC(),
			Capabilities: j.plan.Pipeline.GetComponents().GetEnvironments()[st.plan.Environment].GetCapabilities(),
		},
		Error: failure.Error(), Descriptor: rec.desc, Input: rec.input, Timers: rec.timers, State: rec.state,
	}
	r.splitMu.Lock()
	blocks := r.blocks
	r.splitMu.Unlock()
	if c.Elements == 1 {
		c.Element = st.describe(blocks)
	}
	for _, id := range st.plan.Transforms {
		c.Transforms = append(c.Transforms, st.transformName(id))
	}
	for _, f := range st.families {
		c.Families = append(c.Families, capsule.Family(f))
	}
	name, err := j.cfg.Capsules.save(c, r.id)
	if err != nil {
		j.info.Log.Warn("no capsule of a bundle that failed for good", "stage", st.plan.Name, "error", err)
		return failure
	}
	j.info.Log.Warn("a bundle that failed for good is saved as a capsule", "stage", st.plan.Name, "file", name)
	return &capsuleError{file: name, err: failure}
}

// capsuleError is a failure of which there is a capsule.
type capsuleError struct {
	file string
	err  error
}

func (e *capsuleError) Error() string {
	return fmt.Sprintf("%v\n(to run it again: summerbeam replay %s -- PROGRAM)", e.err, e.file)
}
func (e *capsuleError) Unwrap() error { return e.err }

// countElements counts the elements in a bundle's input; known if they can't be told apart.
func (r *stageRun) countElements(data []byte, known int64) int64 {
	n := int64(0)
	var e coders.Element
	for len(data) > 0 {
		size, err := r.elements().Next(data, &e)
		if err != nil {
			return known
		}
		data = data[size:]
		n++
	}
	return n
}

// save writes a capsule, and removes the oldest if they are too many.
func (c Capsules) save(of *capsule.Capsule, bundle string) (file string, err error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return "", err
	}
	// Its name is where it stands among the others.
	name := fmt.Sprintf("%s-%s-%s%s", of.Time.Format("20060102T150405.000000"), url.PathEscape(of.Name), url.PathEscape(bundle), capsuleExt)
	const most = 200
	if len(name) > most {
		name = name[:most-len(capsuleExt)] + capsuleExt
	}
	file = filepath.Join(c.Dir, name)
	f, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	err = errors.Join(of.Write(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return file, c.prune()
}

func (c Capsules) prune() error {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), capsuleExt) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-c.Keep)] {
		if err := os.Remove(filepath.Join(c.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ReadCapsule reads a capsule's file.
func ReadCapsule(file string) (*capsule.Capsule, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	c, err := capsule.Read(f, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}
