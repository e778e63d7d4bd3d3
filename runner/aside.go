package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/summerbeam/summerbeam/statebackend"
)

// A failed job makes room for another pipeline under its name: many pipelines run under
// the name that an SDK gives to those without, and one that has failed must not stop all
// others. Nothing is lost: what is put aside is a home, and one that is put back is as it was.

// asideDir is where the failed job goes.
func (h *home) asideDir() string {
	data := filepath.Dir(filepath.Dir(h.dir))
	return filepath.Join(data, "failed", fmt.Sprintf("%s-%s", filepath.Base(h.dir), h.record.Job))
}

// setAside copies the failed job and opens a store for the new one, of the next generation. st
// is the failed job's, and locked: nobody else is at it. It goes when the new record is written, see move;
// a crash before leaves the home as it was.
func (h *home) setAside(st statebackend.Store, open func(dir string) (statebackend.Store, error)) (statebackend.Store, error) {
	to := h.asideDir()
	if err := os.RemoveAll(to); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return nil, err
	}
	if err := st.Checkpoint(filepath.Join(to, filepath.Base(h.store()))); err != nil {
		return nil, err
	}
	for _, name := range []string{h.submission(), h.file()} {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := replaceFile(filepath.Join(to, filepath.Base(name)), data); err != nil {
			return nil, err
		}
	}
	was := *h
	h.record, h.aside = *h.aside, nil
	if err := os.RemoveAll(h.store()); err != nil {
		return nil, err
	}
	fresh, err := open(h.store())
	if err != nil {
		return nil, err
	}
	h.before = func() error {
		return errors.Join(st.Close(), os.RemoveAll(was.store()), os.Remove(was.submission()))
	}
	return fresh, nil
}

// moveAside is setAside for a store that can't be opened, though nobody has it.
func (h *home) moveAside() error {
	to := h.asideDir()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.Rename(h.dir, to); err != nil {
		return err
	}
	h.record, h.aside = *h.aside, nil
	return nil
}
