package savepoints

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/blob"
)

// Saved is what Save has done.
type Saved struct {
	ID string
	// Files and Bytes are the savepoint's, SentFiles and SentBytes those of them that were not there
	// before.
	Files, SentFiles int
	Bytes, SentBytes int64
}

// Save copies directories, each under its name in dirs, and makes a savepoint of them.
// It sets m's ID, Version, Created and Files. Files must not change meanwhile. A
// directory that is not there is left out.
func (p *Place) Save(ctx context.Context, m *Manifest, dirs map[string]string) (*Saved, error) {
	m.Version, m.Created = version, time.Now().UTC()
	m.ID = m.Created.Format("20060102T150405.000Z") + "-" + strings.ToLower(rand.Text()[:6])
	to := folder(m.Home)
	there := make(map[string]int64)
	err := p.each(ctx, to+"/files/", func(o *blob.ListObject) error {
		there[path.Base(o.Key)] = o.Size
		return nil
	})
	if err != nil {
		return nil, p.failed(m, err)
	}
	done := &Saved{ID: m.ID}
	var sent []string
	for name, dir := range dirs {
		err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && file == dir {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(dir, file)
			if err != nil {
				return err
			}
			f := File{Path: path.Join(name, filepath.ToSlash(rel))}
			if f.Size, f.SHA256, err = hashFile(file); err != nil {
				return err
			}
			m.Files = append(m.Files, f)
			done.Files, done.Bytes = done.Files+1, done.Bytes+f.Size
			if size, ok := there[f.SHA256]; ok && size == f.Size {
				return nil
			}
			key := to + "/files/" + f.SHA256
			if err := p.send(ctx, key, file); err != nil {
				return fmt.Errorf("%s: %w", f.Path, err)
			}
			there[f.SHA256] = f.Size
			sent = append(sent, key)
			done.SentFiles, done.SentBytes = done.SentFiles+1, done.SentBytes+f.Size
			return nil
		})
		if err != nil {
			return nil, p.failed(m, err)
		}
	}
	if err := p.sync(sent); err != nil {
		return nil, p.failed(m, err)
	}
	data, err := m.marshal()
	if err != nil {
		return nil, p.failed(m, err)
	}
	key := to + "/savepoints/" + m.ID + ".json"
	if err := p.bucket.WriteAll(ctx, key, data, &blob.WriterOptions{ContentType: "application/json"}); err != nil {
		return nil, p.failed(m, err)
	}
	return done, p.failed(m, p.sync([]string{key}))
}

func (p *Place) failed(m *Manifest, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("savepoint of job %q in %s: %w", m.Name, p.name, err)
}

func hashFile(name string) (size int64, sum string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	if size, err = io.Copy(h, f); err != nil {
		return 0, "", err
	}
	return size, hex.EncodeToString(h.Sum(nil)), nil
}

// send writes a file's content. An object is there as a whole or not at all.
func (p *Place) send(ctx context.Context, key, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	// To close the writer makes the object, unless the context has ended.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := p.bucket.NewWriter(ctx, key, &blob.WriterOptions{ContentType: "application/octet-stream"})
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, f); err != nil {
		cancel()
		return errors.Join(err, w.Close())
	}
	return w.Close()
}

// Prune deletes the savepoints of a job but for the last keep ones, and the files that
// none of those has. It returns how many savepoints have gone.
func (p *Place) Prune(ctx context.Context, home string, keep int) (gone int, err error) {
	to := folder(home)
	var ids []string
	err = p.each(ctx, to+"/savepoints/", func(o *blob.ListObject) error {
		if path.Ext(o.Key) == ".json" {
			ids = append(ids, o.Key)
		}
		return nil
	})
	used := make(map[string]bool)
	for i, key := range ids {
		if err != nil {
			break
		}
		if i < len(ids)-keep {
			// The savepoint goes before its files: it is whole or it isn't there.
			err = p.bucket.Delete(ctx, key)
			gone++
			continue
		}
		var data []byte
		var m *Manifest
		if data, err = p.bucket.ReadAll(ctx, key); err == nil {
			m, err = unmarshal(data)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", key, err)
			break
		}
		for _, f := range m.Files {
			used[f.SHA256] = true
		}
	}
	if err == nil {
		err = p.each(ctx, to+"/files/", func(o *blob.ListObject) error {
			if used[path.Base(o.Key)] {
				return nil
			}
			return p.bucket.Delete(ctx, o.Key)
		})
	}
	if err != nil {
		return gone, fmt.Errorf("savepoints in %s: removing old ones: %w", p.name, err)
	}
	return gone, nil
}
