package graph

import "slices"

// Endless says that the pipeline has a source without an end, or a TestStream, which
// stands for one: its job is one to go on with after a crash, not to begin anew. A job
// with a TestStream that gets its events from a service can't be gone on with: the service
// tells each event once.
func (p *Plan) Endless() bool {
	if slices.ContainsFunc(p.Stages, func(s *Stage) bool { return s.TestService != "" }) {
		return false
	}
	return slices.ContainsFunc(p.Stages, func(s *Stage) bool { return s.Unbounded || s.Kind == TestStream })
}

// HasEnd says that a job with this plan ends by itself, and that its input is the same if it is
// read again: it has no source without an end, and no TestStream.
func (p *Plan) HasEnd() bool {
	return !slices.ContainsFunc(p.Stages, func(s *Stage) bool { return s.Unbounded || s.Kind == TestStream })
}

// GroupByState makes all groupings keep what they group in state, as those do whose
// input has no end. A grouping that waits for its input's end keeps tables in memory
// and files that are scratch, which nothing could go on from. It is for the time before
// the plan is run.
func (p *Plan) GroupByState() {
	for _, s := range p.Stages {
		if s.Input != nil && s.Input.Grouping != nil {
			s.Input.Grouping.Triggered = true
		}
	}
}
