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
)

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
		}
	case jobpb.JobState_DRAINING:
		switch e {
		case cancelled:
			return jobpb.JobState_CANCELLING, true
		case succeeded:
			return jobpb.JobState_DRAINED, true
		case failed:
			return jobpb.JobState_FAILED, true
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
