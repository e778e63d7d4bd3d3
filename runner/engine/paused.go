package engine

import (
	"errors"
	"fmt"

	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// PausedError is the end of a job's run that pauses (core.PauseJob): all that the job has is
// in its last epoch. Whoever goes on with the job tries what has failed again.
type PausedError struct {
	// Stage is the id of the stage that failed, Transform the unique name of the transform
	// in it, if the error tells which.
	Stage, Transform string
	// Element describes what it failed with: one element's time, size and beginning. Empty if
	// it is something else, such as a timer.
	Element string
	// Err is why, in the SDK's own words.
	Err error
}

// Error implements error.
func (e *PausedError) Error() string {
	where := "stage " + e.Stage
	if e.Transform != "" {
		where = fmt.Sprintf("transform %s (%s)", e.Transform, where)
	}
	return fmt.Sprintf("%s: %v", where, e.Err)
}

// Unwrap implements the errors package's.
func (e *PausedError) Unwrap() error { return e.Err }

// paused puts a PausedError in the place of the core's.
func (j *Job) paused(err error) error {
	var p *core.Paused
	if !errors.As(err, &p) {
		return err
	}
	out := &PausedError{Stage: j.plan.Stages[p.Stage].ID, Transform: j.stages[p.Stage].blame(p.Err.Error()), Err: p.Err}
	var e *elementError
	if errors.As(p.Err, &e) {
		out.Element = e.element
	}
	return out
}
