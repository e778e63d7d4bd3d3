package job

import jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"

// event is what can happen to a job.
type event int

const (
	// submitted: Run was called.
	submitted event = iota
	// started: the execution begins.
	started
	// cancelled: somebody asked for the job's end.
	cancelled
	// drained: somebody asked for the job's end in good order.
	drained
	// expired: a prepared job was not run and is forgotten.
	expired
	// succeeded: the execution ended without an error.
	succeeded
	// failed: it ended with one.
	failed
	// updated: another pipeline has taken the job over.
	updated
	// paused: the execution has ended with its state kept, and waits for somebody to go on.
	paused
	// resumed: somebody goes on with a paused job.
	resumed
	// superseded: another job has moved in where a paused one was.
	superseded
)

// pausedState is a job's that pauses. Beam's Job API has no state of its own for it: a job that
// is paused, or was not started yet, is STOPPED, as the SDKs have it.
const pausedState jobpb.JobState_Enum = -1

// shown is the state as the Job API tells it.
func shown(s jobpb.JobState_Enum) jobpb.JobState_Enum {
	if s == pausedState {
		return jobpb.JobState_STOPPED
	}
	return s
}

// stateName is what people call a state.
func stateName(s jobpb.JobState_Enum) string {
	if s == pausedState {
		return "PAUSED"
	}
	return s.String()
}

// next returns the state that follows s after e, and false if e can't happen
// in s; then nothing changes. It is all there is to say of a job's states:
//
//	STOPPED -> STARTING -> RUNNING -> DONE | FAILED | UPDATED
//	   |          |           |
//	   |          +-----------+-> DRAINING -> DRAINED | FAILED
//	   |          |           |       |
//	   |          +-----------+-------+-> CANCELLING -> CANCELLED
//	   +--------------------------------------------------^
//
// STARTING, RUNNING and DRAINING jobs may become PAUSED, which they are until they are
// STARTING again, CANCELLING or UPDATED. A prepared job may be PAUSED from the beginning:
// an earlier process has left it so.
//
// A job that is told to stop ends CANCELLED, however its execution ended in the meantime:
// who got CANCELLING for an answer waits for that.
func next(s jobpb.JobState_Enum, e event) (jobpb.JobState_Enum, bool) {
	switch s {
	case jobpb.JobState_STOPPED:
		switch e {
		case submitted:
			return jobpb.JobState_STARTING, true
		case cancelled, expired:
			return jobpb.JobState_CANCELLED, true
		case paused:
			return pausedState, true
		}
	case jobpb.JobState_STARTING, jobpb.JobState_RUNNING:
		switch e {
		case started:
			return jobpb.JobState_RUNNING, s == jobpb.JobState_STARTING
		case cancelled:
			return jobpb.JobState_CANCELLING, true
		case drained:
			return jobpb.JobState_DRAINING, true
		case succeeded:
			return jobpb.JobState_DONE, s == jobpb.JobState_RUNNING
		case updated:
			return jobpb.JobState_UPDATED, s == jobpb.JobState_RUNNING
		case failed:
			return jobpb.JobState_FAILED, true
		case paused:
			return pausedState, true
		}
	case pausedState:
		switch e {
		case resumed:
			return jobpb.JobState_STARTING, true
		case cancelled:
			return jobpb.JobState_CANCELLING, true
		case superseded:
			return jobpb.JobState_UPDATED, true
		}
	case jobpb.JobState_DRAINING:
		switch e {
		case cancelled:
			return jobpb.JobState_CANCELLING, true
		case succeeded:
			return jobpb.JobState_DRAINED, true
		case failed:
			return jobpb.JobState_FAILED, true
		case paused:
			return pausedState, true
		}
	case jobpb.JobState_CANCELLING:
		switch e {
		case succeeded, failed:
			return jobpb.JobState_CANCELLED, true
		}
	}
	return s, false
}

// terminal says that nothing follows s.
func terminal(s jobpb.JobState_Enum) bool {
	switch s {
	case jobpb.JobState_DONE, jobpb.JobState_FAILED, jobpb.JobState_CANCELLED, jobpb.JobState_DRAINED, jobpb.JobState_UPDATED:
		return true
	}
	return false
}
