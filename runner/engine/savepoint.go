package engine

import (
	"errors"
	"fmt"
)

// ErrNoSavepoint is in the chain of an error that says why a job has nothing that another could go on from.
var ErrNoSavepoint = errors.New("no savepoint can be made")

// Savepoint copies the job's last epoch to a directory that is not there yet, by hard links
// where the file system allows. The job runs on: an epoch is one batch, so whatever
// moment the copy is of, it is of whole epochs. Safe to call at any time.
func (j *Job) Savepoint(dir string) error {
	if !j.cfg.Core.Recoverable || j.cfg.Core.ByStage {
		return ErrNoSavepoint
	}
	j.store.storeMu.Lock()
	st := j.store.store
	j.store.storeMu.Unlock()
	if st == nil {
		return errors.New("the job does not run at the moment")
	}
	// The store itself sees to it that it isn't closed meanwhile.
	if err := st.Checkpoint(dir); err != nil {
		return fmt.Errorf("job %s: savepoint: %w", j.info.ID, err)
	}
	return nil
}
