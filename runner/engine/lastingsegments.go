package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/summerbeam/summerbeam/statebackend"
)

// The segment files of a job that goes on from stages (core.Config.ByStage) outlive its process.
// Epochs name places in them, so what is spilled is written once; it is synced before the
// epoch that names it. A place that an epoch names has a reference of its own (spilled.pin),
// until an epoch is durable that doesn't name it any more. The next process writes to
// files of its own.

// lasts makes the files outlive the process, in a directory. Nothing was written yet.
func (s *segments) lasts(dir string) {
	s.dir, s.lasting = dir, true
}

// sync makes what lies at these places durable.
func (s *segments) sync(places []*spilled) error {
	var files []*segmentFile
	for _, p := range places {
		if !slices.Contains(files, p.file) {
			files = append(files, p.file)
		}
	}
	for _, f := range files {
		s.filesMu.Lock()
		err := s.acquire(f)
		s.filesMu.Unlock()
		if err == nil {
			err = f.handle.Sync()
			s.release(f)
		}
		if err != nil {
			return s.fail(f.stage, err)
		}
	}
	if len(files) == 0 {
		return nil
	}
	return s.fs.SyncDir(s.dir) // of their names
}

// appendPlace writes down where bytes are.
func (p *spilled) appendPlace(dst []byte) []byte {
	dst = appendPart(dst, filepath.Base(p.file.path))
	dst = binary.AppendUvarint(dst, uint64(p.off))
	dst = binary.AppendUvarint(dst, uint64(p.n))
	return binary.BigEndian.AppendUint32(dst, p.sum)
}

// adopt returns what an earlier process has written down by appendPlace. Whether the bytes are
// there is seen when they are read.
func (s *segments) adopt(stage int, b []byte) (*spilled, error) {
	bad := fmt.Errorf("place in a segment file: %w", statebackend.ErrCorrupt)
	uvarint := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			b = nil
			return 0
		}
		b = b[n:]
		return v
	}
	size := uvarint()
	if size == 0 || size > uint64(len(b)) {
		return nil, bad
	}
	name := string(b[:size])
	b = b[size:]
	off, n := uvarint(), uvarint()
	if len(b) != 4 || off > 1<<62 || n > 1<<31 || filepath.Base(name) != name || !strings.HasSuffix(name, segmentExt) {
		return nil, bad
	}
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	f := s.adopted[name]
	if f == nil {
		f = &segmentFile{path: filepath.Join(s.dir, name), stage: stage, full: true}
		if s.adopted == nil {
			s.adopted = make(map[string]*segmentFile)
		}
		s.adopted[name] = f
	}
	f.live += int64(n)
	f.size = max(f.size, int64(off+n))
	s.mem.freed(-int64(n))
	return &spilled{in: s, file: f, off: int64(off), n: int(n), sum: binary.BigEndian.Uint32(b)}, nil
}

const segmentExt = ".segment"

// sweep removes files that were not adopted. New ones get numbers behind all that are there.
func (s *segments) sweep() error {
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	names, err := s.fs.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		base, ok := strings.CutSuffix(name, segmentExt)
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(base[strings.LastIndexByte(base, '-')+1:]); err == nil {
			s.count = max(s.count, n)
		}
		if s.adopted[name] == nil {
			if err := s.fs.Remove(filepath.Join(s.dir, name)); err != nil {
				return err
			}
		}
	}
	s.adopted = nil
	return nil
}
