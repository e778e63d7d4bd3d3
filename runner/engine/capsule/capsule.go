// Package capsule is the file format of bundles that have failed for good. A capsule has all
// that the bundle was given: its descriptor, its input, the timers that fired in it, what
// it asked for in state and side inputs, and the answers. So it can be run again without the
// job, the runner's data or the machine that it failed on: in a debugger, for instance.
//
// It is a zip file:
//
//	capsule.json   a Header
//	error.txt      the SDK's whole text
//	descriptor.pb  the ProcessBundleDescriptor
//	input.bin      the elements, as the source transform reads them
//	timers.bin     the timers: for each run of one family transform, family and data
//	state.bin      the answers to state requests: key, continuation token, data, next token, error
//
// In timers.bin and state.bin each part has its length in front, as a uvarint.
package capsule

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/protobuf/proto"
)

// Version is that of the format. Read refuses others.
const Version = 1

// Header says where a bundle comes from and what is wrong with it.
type Header struct {
	Version int
	// Job and Name are the job's id and name.
	Job, Name string
	// Stage is the stage's id, Transforms all transforms in it by their unique names, and
	// Transform the one that failed, if its error tells.
	Stage      string
	Transforms []string
	Transform  string `json:",omitempty"`
	// Element describes the bundle's element, if it has one.
	Element string `json:",omitempty"`
	// Source is the id of the descriptor's transform that reads the input, Elements how many
	// there are in it, Families the timer families whose streams the bundle wants ended.
	Source   string
	Elements int64
	Families []Family `json:",omitempty"`
	// Capabilities are those of the environment: they name the SDK.
	Capabilities []string
	// Attempt counts from 1 what was tried with this very input.
	Attempt int
	Time    time.Time
}

// Family is a timer family of a transform.
type Family struct{ Transform, Family string }

// Timers are encoded timers of one family.
type Timers struct {
	Family
	Data []byte
}

// Answer is one answer to a state request: a page.
type Answer struct {
	Key               *fnpb.StateKey
	Token, Data, Next []byte
	// Err is what was answered in place of data; empty if nothing was wrong.
	Err string
}

// Capsule is a bundle that has failed.
type Capsule struct {
	Header
	Error      string
	Descriptor *fnpb.ProcessBundleDescriptor
	Input      []byte
	Timers     []Timers
	State      []Answer
}

// The names of the parts.
const (
	partHeader     = "capsule.json"
	partError      = "error.txt"
	partDescriptor = "descriptor.pb"
	partInput      = "input.bin"
	partTimers     = "timers.bin"
	partState      = "state.bin"
)

// Write writes the capsule to w.
func (c *Capsule) Write(w io.Writer) error {
	header := c.Header
	header.Version = Version
	head, err := json.MarshalIndent(header, "", "  ")
	if err != nil {
		return err
	}
	desc, err := proto.Marshal(c.Descriptor)
	if err != nil {
		return fmt.Errorf("descriptor: %w", err)
	}
	var timers, state []byte
	for i := range c.Timers {
		t := &c.Timers[i]
		timers = appendParts(timers, []byte(t.Transform), []byte(t.Family.Family), t.Data)
	}
	for i := range c.State {
		a := &c.State[i]
		key, err := proto.Marshal(a.Key)
		if err != nil {
			return fmt.Errorf("state key: %w", err)
		}
		state = appendParts(state, key, a.Token, a.Data, a.Next, []byte(a.Err))
	}
	z := zip.NewWriter(w)
	for _, p := range []struct {
		name string
		data []byte
	}{
		{partHeader, append(head, '\n')}, {partError, []byte(c.Error)}, {partDescriptor, desc},
		{partInput, c.Input}, {partTimers, timers}, {partState, state},
	} {
		f, err := z.CreateHeader(&zip.FileHeader{Name: p.name, Method: zip.Deflate, Modified: c.Time})
		if err == nil {
			_, err = f.Write(p.data)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return z.Close()
}

// maxPart bounds a part in memory: a damaged capsule costs no more.
const maxPart = 1 << 30

// ErrDamaged is in the chain of Read's errors about bytes that are no capsule.
var ErrDamaged = errors.New("not a capsule, or a damaged one")

// Read reads a capsule of size bytes.
func Read(r io.ReaderAt, size int64) (*Capsule, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	parts := make(map[string][]byte)
	for _, f := range z.File {
		switch f.Name {
		case partHeader, partError, partDescriptor, partInput, partTimers, partState:
		default:
			continue // of somebody's who has added to it
		}
		if _, twice := parts[f.Name]; twice {
			return nil, fmt.Errorf("%w: it has two of %s", ErrDamaged, f.Name)
		}
		if parts[f.Name], err = readPart(f); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, f.Name, err)
		}
	}
	c := &Capsule{Descriptor: &fnpb.ProcessBundleDescriptor{}}
	head, ok := parts[partHeader]
	if !ok {
		return nil, fmt.Errorf("%w: it has no %s", ErrDamaged, partHeader)
	}
	if err := json.Unmarshal(head, &c.Header); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, partHeader, err)
	}
	if c.Version != Version {
		return nil, fmt.Errorf("the capsule was written in format %d, this program reads format %d: use the version that wrote it", c.Version, Version)
	}
	for _, name := range []string{partDescriptor, partInput, partTimers, partState} {
		if _, ok := parts[name]; !ok {
			return nil, fmt.Errorf("%w: it has no %s", ErrDamaged, name)
		}
	}
	if err := proto.Unmarshal(parts[partDescriptor], c.Descriptor); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, partDescriptor, err)
	}
	c.Error, c.Input = string(parts[partError]), parts[partInput]
	if err := c.readTimers(parts[partTimers]); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, partTimers, err)
	}
	if err := c.readState(parts[partState]); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, partState, err)
	}
	return c, nil
}

func readPart(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// By copying, so that a size that is only said costs nothing.
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, maxPart+1))
	if err == nil && n > maxPart {
		err = fmt.Errorf("it has more than %d bytes", int64(maxPart))
	}
	return b.Bytes(), err
}

func (c *Capsule) readTimers(data []byte) error {
	for len(data) > 0 {
		var p [3][]byte
		var err error
		if data, err = cutParts(data, p[:]); err != nil {
			return err
		}
		c.Timers = append(c.Timers, Timers{Family: Family{Transform: string(p[0]), Family: string(p[1])}, Data: p[2]})
	}
	return nil
}

func (c *Capsule) readState(data []byte) error {
	for len(data) > 0 {
		var p [5][]byte
		var err error
		if data, err = cutParts(data, p[:]); err != nil {
			return err
		}
		a := Answer{Key: &fnpb.StateKey{}, Token: p[1], Data: p[2], Next: p[3], Err: string(p[4])}
		if err := proto.Unmarshal(p[0], a.Key); err != nil {
			return fmt.Errorf("state key: %w", err)
		}
		c.State = append(c.State, a)
	}
	return nil
}

func appendParts(dst []byte, parts ...[]byte) []byte {
	for _, p := range parts {
		dst = binary.AppendUvarint(dst, uint64(len(p)))
		dst = append(dst, p...)
	}
	return dst
}

// cutParts fills parts from the beginning of data, and returns the rest.
func cutParts(data []byte, parts [][]byte) ([]byte, error) {
	for i := range parts {
		n, w := binary.Uvarint(data)
		if w <= 0 || n > uint64(len(data)-w) {
			return nil, io.ErrUnexpectedEOF
		}
		parts[i] = data[w : w+int(n) : w+int(n)]
		data = data[w+int(n):]
	}
	return data, nil
}
