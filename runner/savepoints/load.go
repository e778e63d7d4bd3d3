package savepoints

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gocloud.dev/gcerrors"
)

// ErrDamaged says that a file is not what it was when the savepoint was made.
var ErrDamaged = errors.New("the savepoint is damaged")

// Load copies a savepoint's files into a directory and checks their hashes on the way.
// What it has written when it fails is the caller's to remove.
func (p *Place) Load(ctx context.Context, m *Manifest, dir string) error {
	for _, f := range m.Files {
		if err := p.load(ctx, m, f, dir); err != nil {
			return fmt.Errorf("savepoint %s in %s: file %s: %w", m.ID, p.name, f.Path, err)
		}
	}
	return nil
}

func (p *Place) load(ctx context.Context, m *Manifest, f File, dir string) (err error) {
	local := filepath.FromSlash(f.Path)
	if !filepath.IsLocal(local) {
		return fmt.Errorf("%w: the file is none of ours", ErrDamaged)
	}
	name := filepath.Join(dir, local)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	r, err := p.bucket.NewReader(ctx, folder(m.Home)+"/files/"+f.SHA256, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%w: it is not there: %w", ErrDamaged, err)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), r)
	if err != nil {
		return err
	}
	if n != f.Size || hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
		return fmt.Errorf("%w: it has %d bytes of %d, and another hash", ErrDamaged, n, f.Size)
	}
	return w.Sync()
}
