package job

import (
	"slices"
	"testing"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"pgregory.net/rapid"
)

var allEvents = []event{submitted, started, cancelled, drained, expired, succeeded, failed, updated, paused, resumed, superseded}

// TestNext states every transition there is. All other pairs change nothing.
func TestNext(t *testing.T) {
	type step struct {
		s jobpb.JobState_Enum
		e event
	}
	want := map[step]jobpb.JobState_Enum{
		{jobpb.JobState_STOPPED, submitted}:    jobpb.JobState_STARTING,
		{jobpb.JobState_STOPPED, cancelled}:    jobpb.JobState_CANCELLED,
		{jobpb.JobState_STOPPED, expired}:      jobpb.JobState_CANCELLED,
		{jobpb.JobState_STARTING, started}:     jobpb.JobState_RUNNING,
		{jobpb.JobState_STARTING, cancelled}:   jobpb.JobState_CANCELLING,
		{jobpb.JobState_STARTING, failed}:      jobpb.JobState_FAILED,
		{jobpb.JobState_RUNNING, cancelled}:    jobpb.JobState_CANCELLING,
		{jobpb.JobState_RUNNING, succeeded}:    jobpb.JobState_DONE,
		{jobpb.JobState_RUNNING, failed}:       jobpb.JobState_FAILED,
		{jobpb.JobState_STARTING, drained}:     jobpb.JobState_DRAINING,
		{jobpb.JobState_RUNNING, drained}:      jobpb.JobState_DRAINING,
		{jobpb.JobState_RUNNING, updated}:      jobpb.JobState_UPDATED,
		{jobpb.JobState_STOPPED, paused}:       pausedState,
		{jobpb.JobState_STARTING, paused}:      pausedState,
		{jobpb.JobState_RUNNING, paused}:       pausedState,
		{jobpb.JobState_DRAINING, paused}:      pausedState,
		{pausedState, resumed}:                 jobpb.JobState_STARTING,
		{pausedState, cancelled}:               jobpb.JobState_CANCELLING,
		{pausedState, superseded}:              jobpb.JobState_UPDATED,
		{jobpb.JobState_DRAINING, cancelled}:   jobpb.JobState_CANCELLING,
		{jobpb.JobState_DRAINING, succeeded}:   jobpb.JobState_DRAINED,
		{jobpb.JobState_DRAINING, failed}:      jobpb.JobState_FAILED,
		{jobpb.JobState_CANCELLING, succeeded}: jobpb.JobState_CANCELLED,
		{jobpb.JobState_CANCELLING, failed}:    jobpb.JobState_CANCELLED,
	}
	states := []jobpb.JobState_Enum{pausedState}
	for number := range jobpb.JobState_Enum_name {
		states = append(states, jobpb.JobState_Enum(number))
	}
	for _, s := range states {
		for _, e := range allEvents {
			to, changed := want[step{s, e}]
			got, ok := next(s, e)
			if ok != changed || ok && got != to {
				t.Errorf("next(%v, %v) = %v, %v; want %v, %v", s, e, got, ok, to, changed)
			}
		}
	}
}

// TestHistoryStates lets anything happen in any order: the history is always a path of
// legal steps, has no second end, and the end is its last entry.
func TestHistoryStates(t *testing.T) {
	// As the Job API tells it: a job may be STOPPED when it pauses, too.
	legal := map[jobpb.JobState_Enum][]jobpb.JobState_Enum{
		jobpb.JobState_STOPPED:    {jobpb.JobState_STARTING, jobpb.JobState_CANCELLED, jobpb.JobState_STOPPED, jobpb.JobState_CANCELLING, jobpb.JobState_UPDATED},
		jobpb.JobState_STARTING:   {jobpb.JobState_RUNNING, jobpb.JobState_FAILED, jobpb.JobState_CANCELLING, jobpb.JobState_DRAINING, jobpb.JobState_STOPPED},
		jobpb.JobState_RUNNING:    {jobpb.JobState_DONE, jobpb.JobState_UPDATED, jobpb.JobState_FAILED, jobpb.JobState_CANCELLING, jobpb.JobState_DRAINING, jobpb.JobState_STOPPED},
		jobpb.JobState_DRAINING:   {jobpb.JobState_DRAINED, jobpb.JobState_FAILED, jobpb.JobState_CANCELLING, jobpb.JobState_STOPPED},
		jobpb.JobState_CANCELLING: {jobpb.JobState_CANCELLED},
	}
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(testClock())
		for range rapid.IntRange(0, 20).Draw(t, "events") {
			if rapid.Bool().Draw(t, "message") {
				h.say(message{text: "x"})
			}
			h.advance(rapid.SampledFrom(allEvents).Draw(t, "event"), message{text: "y"})
		}
		at := jobpb.JobState_STOPPED
		for i, e := range h.entries[1:] {
			if terminal(at) {
				t.Fatalf("entry %d follows %v", i+1, at)
			}
			if e.state == nil {
				continue
			}
			if !slices.Contains(legal[at], e.state.GetState()) {
				t.Fatalf("%v follows %v", e.state.GetState(), at)
			}
			at = e.state.GetState()
		}
		if h.current().state.GetState() != at || shown(h.state) != at {
			t.Fatalf("current state is %v, the last change was to %v", h.current().state, at)
		}
	})
}
