package engine

import (
	"fmt"
	"testing"
)

// lifters runs bundles one after the other, each of so many elements over so many keys.
type lifters struct {
	lifting
	n int
}

func (l *lifters) run(count, elements, keys int) (lifted int) {
	for range count {
		lift, scout := l.lift()
		if lift {
			lifted++
		}
		if !scout {
			continue
		}
		s := &keySample{}
		for range elements {
			l.n++
			s.see(keyHash(fmt.Append(nil, l.n*7919%keys)))
		}
		l.learn(s)
	}
	return lifted
}

// TestLiftingFollowsTheKeys: few keys are combined before the grouping, many are not,
// and a stage whose keys change changes its mind.
func TestLiftingFollowsTheKeys(t *testing.T) {
	l := &lifters{}
	if got := l.run(10, 10_000, 1_000_000); got != 0 {
		t.Errorf("many keys: %d of 10 bundles lifted", got)
	}
	l = &lifters{}
	if got := l.run(100, 10_000, 100); got != 96 {
		t.Errorf("few keys: %d of 100 bundles lifted: all but four scouts should be", got)
	}
	if got := l.run(300, 10_000, 1_000_000); got > 100 {
		t.Errorf("many keys now: %d of 300 bundles lifted", got)
	}
	if got := l.run(50, 10_000, 1_000_000); got != 0 {
		t.Errorf("still many keys: %d of 50 bundles lifted", got)
	}
}

// TestOneScoutAtATime: while nothing is known, bundles beside the scout are lifted.
func TestOneScoutAtATime(t *testing.T) {
	l := &lifting{}
	if lifted, scout := l.lift(); lifted || !scout {
		t.Error("the first bundle is no scout")
	}
	for range 3 {
		if lifted, scout := l.lift(); !lifted || scout {
			t.Errorf("beside the scout: lifted %v, scout %v", lifted, scout)
		}
	}
	l.learn(&keySample{})
	if _, scout := l.lift(); !scout {
		t.Error("the scout has failed, and no other goes")
	}
}

// TestSmallScoutsAddUp: it takes many small bundles to judge.
func TestSmallScoutsAddUp(t *testing.T) {
	l := &lifters{}
	for l.seen < fewElements {
		if l.run(1, 3, 3); l.since != 0 {
			t.Fatalf("no scout after %d elements", l.seen)
		}
	}
	if _, scout := l.lift(); scout {
		t.Error("one more scout")
	}
}
