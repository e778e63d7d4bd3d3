package savepoints

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
)

// Place is where savepoints are kept. It is safe for concurrent use, but see the package's
// word on saving.
type Place struct {
	name   string
	bucket *blob.Bucket
	dir    string // the directory, if it is one
}

// Open opens a place: a directory's path, which is made if it is not there, or the URL
// of a bucket. The URL's path is where in the bucket: s3://bucket/backups/clicks.
func Open(ctx context.Context, where string) (*Place, error) {
	if u, err := url.Parse(where); err == nil && u.Scheme != "" && u.Scheme != "file" {
		prefix := strings.Trim(u.Path, "/")
		u.Path, u.RawPath = "", ""
		b, err := blob.OpenBucket(ctx, u.String())
		if err != nil {
			return nil, fmt.Errorf("savepoints in %s: %w", where, err)
		}
		if prefix != "" {
			b = blob.PrefixedBucket(b, prefix+"/")
		}
		return &Place{name: where, bucket: b}, nil
	}
	dir, err := filepath.Abs(strings.TrimPrefix(where, "file://"))
	if err != nil {
		return nil, fmt.Errorf("savepoints in %s: %w", where, err)
	}
	b, err := fileblob.OpenBucket(dir, &fileblob.Options{CreateDir: true, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return nil, fmt.Errorf("savepoints in %s: %w", where, err)
	}
	return &Place{name: dir, bucket: b, dir: dir}, nil
}

// NewPlace is a place in a bucket that is open already. Close closes it.
func NewPlace(name string, b *blob.Bucket) *Place { return &Place{name: name, bucket: b} }

// Close lets go of the bucket.
func (p *Place) Close() error { return p.bucket.Close() }

// folder is where a job's savepoints are, with names that every store and file system takes.
func folder(home string) string {
	sum := sha256.Sum256([]byte(home))
	plain := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, home)
	return plain[:min(len(plain), 80)] + "-" + hex.EncodeToString(sum[:4])
}

// sync makes files that were written survive a power cut, if they are files.
func (p *Place) sync(keys []string) error {
	if p.dir == "" {
		return nil // an object that was written is kept
	}
	dirs := make(map[string]bool)
	for _, key := range keys {
		name := filepath.Join(p.dir, filepath.FromSlash(key))
		if err := syncFile(name); err != nil {
			return err
		}
		for d := filepath.Dir(name); !dirs[d]; d = filepath.Dir(d) {
			if dirs[d] = true; d == p.dir {
				break
			}
		}
	}
	for d := range dirs {
		if err := syncFile(d); err != nil {
			return err
		}
	}
	return nil
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
