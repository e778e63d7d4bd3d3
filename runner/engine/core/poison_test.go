package core

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/internal/testkit/seeds"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// TestPoisonIsPutAside: elements that their stage fails with each time are found among
// the others and put aside once each, through crashes between any two events, and all
// others are processed as if they had never been there.
func TestPoisonIsPutAside(t *testing.T) {
	crashes, steps := 0, 0
	n := seeds.Each(t, max(1, *crashCount/4), func(seed uint64) {
		s, hop := crashing(seed)
		s.cfg.OnPoison = DeadLetter
		s.c = New(s.plan, s.cfg)
		// By the state's stage, and by the hop behind it.
		poison := map[int][]int{2: {3, 17, 18, 59}, hop: {0, 41}}
		s.poison = map[[2]int]bool{}
		for stage, values := range poison {
			for _, v := range values {
				s.poison[[2]int{stage, v}] = true
			}
		}
		err := s.run(0)
		if err == nil {
			err = s.result
		}
		left := numbers(60)
		for _, stage := range []int{2, hop} {
			left = slices.DeleteFunc(left, func(v int) bool { return slices.Contains(poison[stage], v) })
			if got := sorted(s.got[stage]); err == nil && !slices.Equal(got, left) {
				err = fmt.Errorf("stage %d applied %v, want %v", stage, got, left)
			}
			if got := sorted(s.aside[stage]); err == nil && !slices.Equal(got, poison[stage]) {
				err = fmt.Errorf("stage %d put %v aside, want %v", stage, got, poison[stage])
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		crashes, steps = crashes+s.disk.crashes, steps+s.steps
	})
	t.Logf("%d seeds, each with %.1f events and %.1f crashes", n, float64(steps)/float64(n), float64(crashes)/float64(n))
}

// TestHalvesKeepOrder: what the stage with state has of a key comes in the order in which
// it was queued, however often bundles are cut because of what is between.
func TestHalvesKeepOrder(t *testing.T) {
	seeds.Each(t, *seedCount, func(seed uint64) {
		p := &graph.Plan{}
		imp := link(p, &graph.Stage{Kind: graph.Impulse})
		state := link(p, &graph.Stage{Kind: graph.SDK, Stateful: true, Input: &graph.Input{Keyed: true}}, imp)
		s := newSim(p, Config{Shards: 2, Slots: 4, BundleElements: 40, OnPoison: DeadLetter}, seed)
		s.input = numbers(100)
		s.fail, s.lose = 20, 10
		s.poison = map[[2]int]bool{{state, 8}: true, {state, 50}: true, {state, 51}: true}
		if err := s.run(0); err != nil || s.result != nil {
			t.Fatalf("%v, %v", err, s.result)
		}
		last := map[int]int{}
		for _, v := range s.got[state] {
			if v < last[v%simKeys] {
				t.Fatalf("%d came behind %d", v, last[v%simKeys])
			}
			last[v%simKeys] = v
		}
		if got := sorted(s.aside[state]); !slices.Equal(got, []int{8, 50, 51}) || len(s.got[state]) != 97 {
			t.Fatalf("%v put aside, %d applied", got, len(s.got[state]))
		}
	})
}

// TestAFailingJobSearchesBriefly: where the job fails anyway, each half has one attempt,
// and none is cut when the time for it is over.
func TestAFailingJobSearchesBriefly(t *testing.T) {
	cause := errors.New("division by zero")
	for _, tc := range []struct {
		each time.Duration // that an attempt takes
		runs int
		text string
	}{
		{time.Millisecond, 3 + 4, "stage b: after 7 attempts: division by zero"}, // 16, 8, 4, 2, 1: the last one fails the job
		{6 * time.Second, 3 + 2, "stage b: after 5 attempts: division by zero"},
	} {
		p := &graph.Plan{}
		imp := link(p, &graph.Stage{Kind: graph.Impulse})
		link(p, &graph.Stage{ID: "b", Kind: graph.SDK, Input: &graph.Input{Keyed: true}}, imp)
		c := New(p, Config{Shards: 1, Slots: 1})
		run := c.Step(0, Started{})[0].(RunBundle)
		all := Block{Count: 16, Payload: numbers(16)}
		acts := c.Step(0, BundleFinished{Bundle: run.Bundle, Outputs: []Routed{{Block: all}}})
		now, runs := time.Duration(0), 0
		for {
			if f := of[Finish](acts); len(f) > 0 {
				if f[0].Err == nil || f[0].Err.Error() != tc.text {
					t.Errorf("%v an attempt: the job ends with %v, want %s", tc.each, f[0].Err, tc.text)
				}
				break
			}
			r := of[RunBundle](acts)
			if len(r) == 0 {
				now = max(now, of[WakeAt](acts)[0].At)
				acts = c.Step(now, Tick{})
				continue
			}
			runs++
			now += tc.each
			if half := runs > 3; r[0].NoTimers != half {
				t.Errorf("attempt %d: no timers %v, want it of halves", runs, r[0].NoTimers)
			}
			ev := BundleFailed{Bundle: r[0].Bundle, Err: cause}
			if v := r[0].Blocks[0].Payload.([]int); r[0].Halve {
				for i, part := range [][]int{v[:len(v)/2], v[len(v)/2:]} {
					ev.Halves[i] = []Block{{Count: int64(len(part)), Payload: part}}
				}
			}
			acts = c.Step(now, ev)
		}
		if runs != tc.runs {
			t.Errorf("%v an attempt: %d attempts, want %d", tc.each, runs, tc.runs)
		}
	}
}

// TestOnlyElementsArePutAside: what a splittable DoFn can't process fails the job.
func TestOnlyElementsArePutAside(t *testing.T) {
	p := &graph.Plan{}
	imp := link(p, &graph.Stage{Kind: graph.Impulse})
	sdf := link(p, &graph.Stage{Kind: graph.SDK, Splittable: true}, imp)
	s := newSim(p, Config{OnPoison: DeadLetter}, 1)
	s.input = numbers(10)
	s.poison = map[[2]int]bool{{sdf, 4}: true}
	if err := s.run(0); err != nil {
		t.Fatal(err)
	}
	if s.result == nil || !strings.Contains(fmt.Sprint(s.result), "stage b") || len(s.aside) > 0 {
		t.Errorf("result %v, %v put aside", s.result, s.aside)
	}
}
