package engine

import (
	"log/slog"
	"sync"
	"sync/atomic"
)

// diskFull is what a job knows of its disks: whether its store or writers of its segment files
// wait for room. As long as one does, the job begins nothing new: whatever runs would only make
// more to write. Safe for concurrent use.
type diskFull struct {
	log *slog.Logger
	// full says that somebody waits.
	full atomic.Bool
	// ending is closed when the job is to end: nobody waits then.
	ending chan struct{}
	end    func() // closes ending

	waitMu  sync.Mutex
	store   bool // waits
	writers int  // that wait
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
	j.disk.note("its store's", func(d *diskFull) { d.store = full })
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
	full := d.store || d.writers > 0
	changed := d.full.Swap(full) != full
	d.waitMu.Unlock()
	switch {
	case !changed:
	case d.over():
	case full:
		d.log.Warn("the disk is full: the job reads no more until there is room; make room, or cancel it", "directory", dir)
	default:
		d.log.Warn("the job goes on: its disk has room again", "directory", dir)
	}
}
