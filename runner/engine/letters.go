package engine

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"time"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
)

// Elements that a stage fails with each time are put aside in a file, if the job says so
// (core.DeadLetter). It only grows, letter by letter:
//
//	uvarint  length of the header
//	bytes    the header, a Letter as JSON
//	uvarint  length of the element
//	bytes    the element: a windowed value as the stage reads it, in the coder that the header names
//
// In a job that outlives its process each letter is there once: letters go into the
// file just before the epoch that takes their elements out of the queues, the epoch has
// the file's length, and what is behind that length is cut off when the job goes on. In
// other jobs a letter is written when its element is put aside.

// Letter says where an element comes from and what is wrong with it.
type Letter struct {
	// Job and Name are the job's id and name.
	Job, Name string
	// Stage is the stage's id, Transforms all transforms in it by their unique names, and
	// Transform the one that failed, if its error tells.
	Stage      string
	Transforms []string
	Transform  string `json:",omitempty"`
	// Coder is the id of the element's coder in the pipeline.
	Coder string
	// Timestamp is the element's, in ms since the Unix epoch; Time is when it was put aside.
	Timestamp int64
	Time      time.Time
	Error     string
}

// errLetter marks an element that could not be put aside.
var errLetter = errors.New("an element that fails each time can't be put aside")

// putAside makes the letter of a bundle's only element.
func (j *Job) putAside(a core.RunBundle, r *runningBundle) error {
	st := r.stage
	var data []byte
	for part, err := range render(a.Blocks, nil) {
		if err != nil {
			return fmt.Errorf("%w: %w", errLetter, err)
		}
		data = append(data, part...)
	}
	var e coders.Element
	if n, err := st.elements().Next(data, &e); err != nil || n != len(data) {
		return fmt.Errorf("%w: it is not one element (%w)", errLetter, errors.Join(err, errCoder))
	}
	l := Letter{
		Job: j.info.ID, Name: j.info.Name, Stage: st.plan.ID, Coder: st.plan.Input.Coder,
		Timestamp: e.Timestamp, Time: time.Now().UTC(), Error: a.Poison.Error(),
	}
	if g := st.plan.Input.Grouping; g != nil && g.OutputCoder != "" {
		l.Coder = g.OutputCoder
	}
	l.Transform = st.blame(l.Error)
	for _, id := range st.plan.Transforms {
		l.Transforms = append(l.Transforms, st.transformName(id))
	}
	header, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("%w: %w", errLetter, err)
	}
	b := binary.AppendUvarint(nil, uint64(len(header)))
	b = append(b, header...)
	b = binary.AppendUvarint(b, uint64(len(data)))
	r.letter = append(b, data...)
	if j.durable != nil {
		return nil
	}
	if _, err := j.store.letters.append(r.letter); err != nil {
		return fmt.Errorf("%w: %w", errLetter, err)
	}
	return nil
}

// noteLetter counts a letter, and leaves it to the next epoch. The loop calls it when the
// bundle is committed.
func (j *Job) noteLetter(r *runningBundle) {
	if j.durable != nil {
		j.durable.letters = append(j.durable.letters, r.letter...)
	}
	j.progress.letters.Add(1)
	j.info.Log.Warn("an element that fails each time was put aside", "stage", r.stage.plan.Name, "file", j.cfg.Letters)
}

// Where SDKs name the transform that failed: Go by its id, Python by id and name.
var blames = []*regexp.Regexp{
	regexp.MustCompile(`DoFn\[UID:[^,\]]*, PID:([^,\]]+)`),
	regexp.MustCompile(`while running '([^']+)'`),
}

// blame returns the unique name of the transform that an SDK's error blames, "" if it
// names none of the stage.
func (r *stageRun) blame(text string) string {
	for _, re := range blames {
		if m := re.FindStringSubmatch(text); m != nil {
			for _, id := range r.plan.Transforms {
				if name := r.transformName(id); id == m[1] || name == m[1] {
					return name
				}
			}
		}
	}
	return ""
}

func (r *stageRun) transformName(id string) string {
	if name := r.plan.Descriptor.GetTransforms()[id].GetUniqueName(); name != "" {
		return name
	}
	return id
}

// failedBundle adds to a failure what the core wants to know for its search for the
// element to blame. r.splitMu is held.
func (j *Job) failedBundle(a core.RunBundle, r *runningBundle, ev core.BundleFailed) core.Event {
	if ev.WorkerLost || ev.Fatal {
		return ev
	}
	var n int64
	for i := range r.blocks {
		n += r.blocks[i].Count
	}
	if what := r.stage.describe(r.blocks); n == 1 && what != "" {
		ev.Err = &elementError{element: what, err: ev.Err}
	}
	if !a.Halve || n < 2 {
		return ev
	}
	first, second, err := r.stage.cutBlocks(r.blocks, n/2)
	if err != nil {
		ev.Fatal, ev.Err = true, fmt.Errorf("%w (and its input can't be cut: %w)", ev.Err, err)
		return ev
	}
	j.keep.replace(r.blocks, first, second)
	ev.Halves = [2][]core.Block{first, second}
	return ev
}

// elementError is the failure of a bundle that has one element.
type elementError struct {
	element string
	err     error
}

func (e *elementError) Error() string {
	return fmt.Sprintf("%v\n(its only element: %s)", e.err, e.element)
}
func (e *elementError) Unwrap() error { return e.err }

// describe tells people which element is in blocks: its time, its size and how it begins.
// Empty: nobody knows.
func (r *stageRun) describe(blocks []core.Block) string {
	if r.plan.Kind != graph.SDK || len(blocks) == 0 {
		return ""
	}
	data, err := payloadBytes(blocks[0].Payload)
	if err != nil {
		return "" // groups are too large for a line
	}
	var e coders.Element
	if n, err := r.elements().Next(data, &e); err != nil || n != len(data) {
		return ""
	}
	return describeElement(&e)
}

func describeElement(e *coders.Element) string {
	at := time.UnixMilli(e.Timestamp).UTC().Format(time.RFC3339Nano)
	if e.Key != nil {
		return fmt.Sprintf("at %s, key %s, value %s", at, beginning(e.Key), beginning(e.Value))
	}
	return fmt.Sprintf("at %s, %s", at, beginning(e.Value))
}

// beginning is what people see of encoded bytes.
func beginning(b []byte) string {
	const most = 64
	if len(b) > most {
		return fmt.Sprintf("%q... (%d bytes)", b[:most], len(b))
	}
	return strconv.Quote(string(b))
}

// restoreLetters cuts off letters whose elements are still queued.
func (j *Job) restoreLetters(st statebackend.Store) error {
	if j.cfg.Letters == "" {
		return nil
	}
	data, found, err := st.Get(nil, []byte{recoveryMark, recordLetters})
	if err != nil {
		return err
	}
	var size uint64
	if found {
		var n int
		if size, n = binary.Uvarint(data); n <= 0 {
			return fmt.Errorf("length of the dead letters: %w", statebackend.ErrCorrupt)
		}
	}
	if err := j.store.letters.cut(int64(size)); err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	return nil
}

// ReadLetters calls fn with each letter of a file, and its element's bytes, until fn
// returns an error.
func ReadLetters(r io.Reader, fn func(Letter, []byte) error) error {
	in := bufio.NewReader(r)
	part := func() ([]byte, error) {
		n, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, err
		}
		// By copying, so that a damaged length costs no more than the file has.
		var b bytes.Buffer
		if _, err := io.CopyN(&b, in, int64(min(n, math.MaxInt64))); err != nil {
			return nil, fmt.Errorf("a letter of %d bytes is cut short: %w", n, io.ErrUnexpectedEOF)
		}
		return b.Bytes(), nil
	}
	for {
		header, err := part()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var l Letter
		if err := json.Unmarshal(header, &l); err != nil {
			return fmt.Errorf("a letter's header: %w", err)
		}
		data, err := part()
		if err != nil {
			return fmt.Errorf("a letter's element: %w", err)
		}
		if err := fn(l, data); err != nil {
			return err
		}
	}
}
