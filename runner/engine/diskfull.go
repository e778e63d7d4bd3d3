package engine

import "sync/atomic"

// diskFull is what the job's store says of its disk; see NoteDiskFull.
type diskFull struct {
	full, ending atomic.Bool
}

// NoteDiskFull says whether the job's store waits for room on its disk. The job begins
// nothing new as long as it does: sources pause, and the epoch that is being written
// goes on when there is room. It returns whether the store shall wait: not for a job that
// is to end. Safe for concurrent use; it is what statebackend.Options.DiskFull wants.
func (j *Job) NoteDiskFull(full bool) (wait bool) {
	if j.disk.full.Swap(full) != full {
		if full {
			j.info.Log.Warn("the disk is full: the job reads no more until there is room; make room, or cancel it")
		} else {
			j.info.Log.Warn("the job goes on: its disk has room again")
		}
	}
	return !j.disk.ending.Load()
}
