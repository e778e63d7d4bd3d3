package engine

import (
	"log/slog"
	"sync"
	"sync/atomic"
)

// diskFull is what a job knows of its disks: whether its store or writers of its files wait for
// room. Safe for concurrent use.
//
// As long as the store waits the job begins nothing new: whatever runs would only make more to
// write. If others wait, the job does what it does when memory is short: what is queued is worked off,
// which gives back what is on the disk, and nothing is begun that would only add to it.
type diskFull struct {
	log *slog.Logger
	// full says that somebody waits, store that the store does, files that others do.
	full, store, files atomic.Bool
	// ending is closed when the job is to end: nobody waits then.
	ending chan struct{}
	end    func() // closes ending

	waitMu  sync.Mutex
	writers int // that wait
}

func newDiskFull(log *slog.Logger) *diskFull {
	d := &diskFull{log: log, ending: make(chan struct{})}
	d.end = sync.OnceFunc(func() { close(d.ending) })
	return d
}

// NoteDiskFull says whether the job's store waits for room on its disk. The job begins
// nothing new as long as it does: sources pause, and the epoch that is being written
// goes on when there is room. It returns whether the store shall wait: not for a job that
// is to end. Safe for concurrent use; it is what statebackend.Options.DiskFull wants.
func (j *Job) NoteDiskFull(full bool) (wait bool) {
	j.disk.note("its store's", func(d *diskFull) { d.store.Store(full) })
	return !j.disk.over()
}

// over says that the job is to end.
func (d *diskFull) over() bool {
	select {
	case <-d.ending:
		return true
	default:
		return false
	}
}

// enter says that a writer waits for room in a directory, leave that it does no more.
func (d *diskFull) enter(dir string) { d.note(dir, func(d *diskFull) { d.writers++ }) }
func (d *diskFull) leave(dir string) { d.note(dir, func(d *diskFull) { d.writers-- }) }

// note makes a change, and says so if it is one for the job.
func (d *diskFull) note(dir string, change func(*diskFull)) {
	d.waitMu.Lock()
	change(d)
	d.files.Store(d.writers > 0)
	full := d.store.Load() || d.writers > 0
	changed := d.full.Swap(full) != full
	d.waitMu.Unlock()
	switch {
	case !changed:
	case d.over():
	case full:
		d.log.Warn("the disk is full: the job waits until there is room; make room, or cancel it", "directory", dir)
	default:
		d.log.Warn("the job goes on: its disk has room again", "directory", dir)
	}
}
