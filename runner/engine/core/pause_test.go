package core

import (
	"errors"
	"fmt"
	"testing"

	"github.com/summerbeam/summerbeam/internal/testkit/seeds"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// TestPausedJobsGoOn: a stage fails with some elements each time. The job pauses, with all
// it has in its last epoch; somebody corrects the stage, now and then in vain, and starts it
// again. In the end everything was applied once, crashes or not.
func TestPausedJobsGoOn(t *testing.T) {
	pauses := 0
	n := seeds.Each(t, max(1, *crashCount/4), func(seed uint64) {
		s, hop := crashing(seed)
		s.cfg.OnPoison = PauseJob
		s.c = New(s.plan, s.cfg)
		s.poison = map[[2]int]bool{{1, 9}: true, {2, 3}: true, {2, 59}: true, {hop, 41}: true}
		err := s.run(0)
		var paused *Paused
		for n := 0; err == nil && errors.As(s.result, &paused); n++ {
			if n > 20 {
				err = errors.New("it pauses again and again")
				break
			}
			pauses++
			at := paused.Stage
			if n%3 > 0 { // corrected
				for p := range s.poison {
					if p[0] == at {
						delete(s.poison, p)
					}
				}
			}
			s.disk.written = nil
			if err = s.crashNow(); err == nil {
				err = s.untilEnd(0)
			}
		}
		if err == nil {
			err = s.judge(hop)
		}
		if err == nil && len(s.poison) > 0 {
			err = fmt.Errorf("nobody was told of %v", s.poison)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%d seeds, %.1f pauses each", n, float64(pauses)/float64(n))
}

// TestALostWorkerPausesTheJob, if it is lost each time; and one that can't be helped fails it.
func TestALostWorkerPausesTheJob(t *testing.T) {
	for _, fatal := range []bool{false, true} {
		p := &graph.Plan{}
		link(p, &graph.Stage{Kind: graph.Impulse})
		c := New(p, Config{OnPoison: PauseJob, WorkerLosses: 2, Ephemeral: true})
		acts := c.Step(0, Started{})
		cause := errors.New("gone")
		var end []Finish
		for range 2 {
			run := of[RunBundle](acts)
			if len(run) == 0 {
				break
			}
			acts = c.Step(0, BundleFailed{Bundle: run[0].Bundle, Err: cause, WorkerLost: !fatal, Fatal: fatal})
			end = append(end, of[Finish](acts)...)
		}
		var paused *Paused
		if len(end) != 1 || !errors.Is(end[0].Err, cause) || errors.As(end[0].Err, &paused) == fatal {
			t.Errorf("fatal %v: the job ends with %v", fatal, end)
		}
	}
}
