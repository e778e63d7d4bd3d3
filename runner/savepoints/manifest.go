package savepoints

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"
)

// Manifest says what a savepoint has.
type Manifest struct {
	Version int
	// ID is the savepoint's among those of its job. Later ones have greater IDs.
	ID string
	// Job and Name are the job's, Home is the name of its home among others.
	Job, Name, Home string
	Created         time.Time
	Files           []File
}

// File is one of a savepoint's files. Its path has slashes.
type File struct {
	Path   string
	Size   int64
	SHA256 string
}

// version changes with what a manifest means.
const version = 2

// envelope has a manifest and its hash: a manifest that was changed is found out.
type envelope struct {
	SHA256   string
	Manifest json.RawMessage
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (m *Manifest) marshal() ([]byte, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope{SHA256: hash(data), Manifest: data})
}

func unmarshal(data []byte) (*Manifest, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if hash(e.Manifest) != e.SHA256 {
		return nil, errors.New("it is damaged: its hash is another")
	}
	var m Manifest
	if err := json.Unmarshal(e.Manifest, &m); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if m.Version != version {
		return nil, fmt.Errorf("it was written in format %d, this program reads format %d", m.Version, version)
	}
	return &m, nil
}

// List returns the savepoints of the job with the name, or of all jobs without a name: by
// job, and those of a job in the order in which they were made.
func (p *Place) List(ctx context.Context, name string) ([]*Manifest, error) {
	var all []*Manifest
	err := p.each(ctx, "", func(o *blob.ListObject) error {
		dir, base := path.Split(o.Key)
		if !strings.HasSuffix(dir, "/savepoints/") || path.Ext(base) != ".json" {
			return nil
		}
		data, err := p.bucket.ReadAll(ctx, o.Key)
		if err != nil {
			return err
		}
		m, err := unmarshal(data)
		if err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
		if name == "" || m.Name == name {
			all = append(all, m)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("savepoints in %s: %w", p.name, err)
	}
	slices.SortFunc(all, func(a, b *Manifest) int {
		return strings.Compare(a.Home+"\x00"+a.ID, b.Home+"\x00"+b.ID)
	})
	return all, nil
}

// Find returns one savepoint: the one with the id, or the last without. name may be empty
// if the savepoints are all of one job.
func (p *Place) Find(ctx context.Context, name, id string) (*Manifest, error) {
	all, err := p.List(ctx, name)
	if err != nil {
		return nil, err
	}
	var found *Manifest
	for _, m := range all {
		if id != "" && m.ID != id {
			continue
		}
		if found != nil && found.Home != m.Home {
			return nil, fmt.Errorf("savepoints in %s: there are those of %q and of %q: say which by the job's name", p.name, found.Name, m.Name)
		}
		found = m
	}
	if found == nil {
		return nil, fmt.Errorf("savepoints in %s: there is none, or not a whole one%s", p.name, of(name, id))
	}
	return found, nil
}

func of(name, id string) (s string) {
	if name != "" {
		s += fmt.Sprintf(" of job %q", name)
	}
	if id != "" {
		s += " with the id " + id
	}
	return s
}

// each calls f with the objects whose keys begin with prefix, in order of their keys.
func (p *Place) each(ctx context.Context, prefix string, f func(*blob.ListObject) error) error {
	it := p.bucket.List(&blob.ListOptions{Prefix: prefix})
	for {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(o); err != nil {
			return err
		}
	}
}
