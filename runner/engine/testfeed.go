package engine

import (
	"context"
	"errors"
	"fmt"
	"io"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// TestFeed is a stream of a TestStream's events from a service. Next returns io.EOF behind
// the last. It is used by one goroutine at a time, and ends with the context it was made
// with.
type TestFeed interface {
	Next() (*pipepb.TestStreamPayload_Event, error)
}

// testFeed is one stage's stream. Only the goroutine that gets an event uses it, and the
// core asks for one at a time.
type testFeed struct{ feed TestFeed }

// askTestEvent gets the next event that matters. The loop calls it; ctx ends with the job.
func (j *Job) askTestEvent(ctx context.Context, stage int) {
	f := j.feeds[stage]
	if f == nil {
		f = &testFeed{}
		j.feeds[stage] = f
	}
	j.background.Add(1)
	go func() {
		defer j.background.Done()
		ev := core.TestEvent{Stage: stage}
		ev.Err = guard(func() error { return j.nextTestEvent(ctx, f, &ev) })
		select {
		case j.events <- ev:
		case <-ctx.Done(): // the job is over, and nobody listens
		}
	}()
}

func (j *Job) nextTestEvent(ctx context.Context, f *testFeed, ev *core.TestEvent) (err error) {
	s := j.plan.Stages[ev.Stage]
	if f.feed == nil {
		if j.cfg.TestService == nil {
			return errors.New("BUG: there is no way to its service")
		}
		if f.feed, err = j.cfg.TestService(ctx, s.TestService, s.TestScript.Tags()); err != nil {
			return fmt.Errorf("its service at %s: %w", s.TestService, err)
		}
	}
	for {
		e, err := f.feed.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("its service at %s: %w", s.TestService, err)
		}
		event, matters, err := s.TestScript.Event(e)
		if err != nil {
			return err
		}
		if matters {
			ev.Event = &event
			return nil
		}
	}
}
