package engine

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// errSpill marks an error of the segment files: a disk that is full or broken, or
// data that isn't what was written. Another attempt of a bundle would not help.
var errSpill = errors.New("spilling to disk")

// DiskFault says that a job's Run has returned err because of its segment files: their disk is full,
// or broken.
func DiskFault(err error) bool { return errors.Is(err, errSpill) }

// segments are a job's files of what did not fit in memory: for each stage a row
// of append-only files, of which one is written at a time. They are scratch:
// nothing is synced, and what they hold ends with the job. (Those of some jobs last, see
// lastingsegments.go.)
//
// What lies where is known in memory alone (a spilled is a place in a file and a
// checksum), so the files have no format. A file whose bytes have all been let go
// is deleted, or written from its start again if it is the one being written.
type segments struct {
	dir   string // empty: a temporary directory, made when first needed
	fs    fileSystem
	mem   *memory
	names func(stage int) string // for files and errors

	// lasting files outlive the process.
	lasting bool
	// fileBytes is where a file is full: segmentBytes.
	fileBytes int64
	// full, if not nil, hears of writers that wait for room on the disk. See room.go.
	full *diskFull
	// reclaimed counts how often all of a file was let go.
	reclaimed atomic.Int64

	filesMu sync.Mutex
	made    bool
	// adopted are the files of an earlier process by name, until sweep.
	adopted map[string]*segmentFile
	current map[int]*segmentFile
	// open are the files with a handle, least recently used first.
	open  []*segmentFile
	count int
}

// segmentFile is one file. filesMu guards its fields but for path and stage.
type segmentFile struct {
	path  string
	stage int
	// size is where the next write goes, live how many bytes are still needed.
	size, live int64
	// full files are not written any more; gone ones were deleted.
	full, gone bool
	handle     file
	users      int // of handle
}

const (
	// segmentBytes is where a file is full: space comes back to the disk file by file.
	segmentBytes = 256 << 20
	// maxHandles bounds the open files of a job. More are open for a moment if more
	// are read and written at the same instant.
	maxHandles = 32
)

// spilled is bytes on disk. It is immutable; free may be called once, and once more for
// each pin.
type spilled struct {
	in   *segments
	file *segmentFile
	off  int64
	n    int
	sum  uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newSegments(dir string, fs fileSystem, mem *memory, names func(int) string) *segments {
	return &segments{dir: dir, fs: fs, mem: mem, names: names, fileBytes: segmentBytes, current: make(map[int]*segmentFile)}
}

// write puts data down for a stage; data is free when it returns. While the disk is full it
// waits: the caller holds no lock. Writes of several goroutines go on side by side: only
// the place is given out under the lock.
func (s *segments) write(stage int, data []byte) (p *spilled, err error) {
	err = s.whenRoom(int64(len(data)), func() error {
		p, err = s.put(stage, data)
		return err
	})
	if err != nil {
		return nil, s.fail(stage, err)
	}
	return p, nil
}

// offer is write for who can't wait: an error of noRoom says that the disk is full.
func (s *segments) offer(stage int, data []byte) (*spilled, error) {
	p, err := s.put(stage, data)
	if err != nil {
		return nil, s.fail(stage, err)
	}
	return p, nil
}

// put is write without waiting. If it fails it has no place: who waits for another try keeps no file from
// being deleted or used again.
func (s *segments) put(stage int, data []byte) (*spilled, error) {
	n := int64(len(data))
	f, off, err := s.reserve(stage, n)
	if err != nil {
		return nil, err
	}
	if _, err = f.handle.WriteAt(data, off); err != nil {
		s.giveBack(f, off, n)
		return nil, err
	}
	s.release(f)
	s.mem.spilled(n)
	return &spilled{in: s, file: f, off: off, n: len(data), sum: crc32.Checksum(data, castagnoli)}, nil
}

func (s *segments) fail(stage int, err error) error {
	dir := s.directory()
	if s.lasting {
		return fmt.Errorf("stage %s: %w: its data can't be written to %s: %w (free some space there and start the job again: it goes on from its last epoch)", s.names(stage), errSpill, dir, err)
	}
	return fmt.Errorf("stage %s: %w: its data exceeds the memory budget and can't be written to %s: %w (free some space there, or raise the memory budget)",
		s.names(stage), errSpill, dir, err)
}

// reserve finds room for n bytes. The file's handle is the caller's until release.
func (s *segments) reserve(stage int, n int64) (*segmentFile, int64, error) {
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	f := s.current[stage]
	if f == nil {
		if err := s.makeDir(); err != nil {
			return nil, 0, err
		}
		s.count++
		f = &segmentFile{stage: stage, path: filepath.Join(s.dir, fmt.Sprintf("%s-%04d%s", s.names(stage), s.count, segmentExt))}
		h, err := s.fs.Create(f.path)
		if err != nil {
			return nil, 0, err
		}
		s.opened(f, h)
		s.current[stage] = f
	}
	if err := s.acquire(f); err != nil {
		return nil, 0, err
	}
	off := f.size
	f.size += n
	f.live += n
	if f.size >= s.fileBytes {
		f.full = true
		delete(s.current, stage)
	}
	return f, off, nil
}

// giveBack undoes reserve, but for a place in the middle of the file, which waits for the file's end.
func (s *segments) giveBack(f *segmentFile, off, n int64) {
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	if f.size == off+n {
		f.size = off
	}
	if f.live -= n; f.live == 0 && off > 0 {
		s.reclaimed.Add(1) // what was before it went meanwhile
	}
	f.users--
	s.reclaim(f)
}

func (s *segments) makeDir() error {
	if s.made {
		return nil
	}
	if s.dir != "" {
		if err := s.fs.MakeDir(s.dir); err != nil {
			return err
		}
	} else {
		dir, err := s.fs.TempDir()
		if err != nil {
			return err
		}
		s.dir = dir
	}
	s.made = true
	return nil
}

// acquire makes sure that f has a handle, which stays until release. filesMu is held.
func (s *segments) acquire(f *segmentFile) error {
	if f.handle == nil {
		h, err := s.fs.Open(f.path)
		if err != nil {
			return err
		}
		s.opened(f, h)
	} else if last := len(s.open) - 1; s.open[last] != f {
		for i, o := range s.open {
			if o == f {
				copy(s.open[i:], s.open[i+1:])
				s.open[last] = f
				break
			}
		}
	}
	f.users++
	return nil
}

// opened notes a new handle and closes the one that was idle longest, if they are many.
func (s *segments) opened(f *segmentFile, h file) {
	f.handle = h
	s.open = append(s.open, f)
	if len(s.open) <= maxHandles {
		return
	}
	for _, o := range s.open {
		if o.users == 0 && o != f {
			s.closeHandle(o)
			return
		}
	}
}

func (s *segments) closeHandle(f *segmentFile) {
	for i, o := range s.open {
		if o == f {
			s.open = append(s.open[:i], s.open[i+1:]...)
			break
		}
	}
	_ = f.handle.Close() // Nothing to save: the file is scratch, and its bytes are checked when they are read.
	f.handle = nil
}

func (s *segments) release(f *segmentFile) {
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	f.users--
	s.reclaim(f)
}

// reclaim takes back what nobody needs. filesMu is held.
func (s *segments) reclaim(f *segmentFile) {
	if f.live > 0 || f.users > 0 || f.gone {
		return
	}
	if !f.full {
		f.size = 0
		return
	}
	f.gone = true
	if f.handle != nil {
		s.closeHandle(f)
	}
	_ = s.fs.Remove(f.path) // The directory goes with the job in any case.
}

// close deletes all files, unless they last. Nothing may be in use any more.
func (s *segments) close() error {
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	for len(s.open) > 0 {
		s.closeHandle(s.open[0])
	}
	if !s.made || s.lasting {
		return nil
	}
	s.made = false
	return s.fs.RemoveAll(s.dir)
}

// read returns the bytes, in memory of their own.
func (p *spilled) read() ([]byte, error) { return p.readInto(nil) }

// readInto is read into buf's array, if that is large enough.
func (p *spilled) readInto(buf []byte) ([]byte, error) {
	b := buf[:0]
	if cap(b) < p.n {
		b = make([]byte, p.n)
	}
	b = b[:p.n]
	s := p.in
	s.filesMu.Lock()
	err := s.acquire(p.file)
	s.filesMu.Unlock()
	if err == nil {
		var n int
		n, err = p.file.handle.ReadAt(b, p.off)
		s.release(p.file)
		switch {
		case n == len(b):
			err = nil
		case err == nil || err == io.EOF:
			err = fmt.Errorf("it ends at %d: %w", p.off+int64(n), io.ErrUnexpectedEOF)
		}
	}
	if err == nil && crc32.Checksum(b, castagnoli) != p.sum {
		err = errors.New("the checksum is not that of what was written")
	}
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w: reading back %d bytes at %d of %s: %w",
			s.names(p.file.stage), errSpill, p.n, p.off, p.file.path, err)
	}
	return b, nil
}

// pin asks for one more free before the bytes may go.
func (p *spilled) pin() {
	s := p.in
	s.mem.freed(-int64(p.n))
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	p.file.live += int64(p.n)
}

// free says that nobody needs the bytes any more.
func (p *spilled) free() {
	s := p.in
	s.mem.freed(int64(p.n))
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	if p.file.live -= int64(p.n); p.file.live == 0 {
		s.reclaimed.Add(1)
	}
	s.reclaim(p.file)
}

// cut returns the two parts of p before and behind byte n of data, which is what p
// holds. They take p's place: p itself must not be freed any more.
func (p *spilled) cut(data []byte, n int) (head, tail *spilled) {
	return &spilled{in: p.in, file: p.file, off: p.off, n: n, sum: crc32.Checksum(data[:n], castagnoli)},
		&spilled{in: p.in, file: p.file, off: p.off + int64(n), n: p.n - n, sum: crc32.Checksum(data[n:], castagnoli)}
}
