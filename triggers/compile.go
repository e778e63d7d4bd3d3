package triggers

import (
	"errors"
	"fmt"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

type kind uint8

const (
	defaultTrigger kind = iota
	always
	never
	elementCount
	delay // after_processing_time and after_synchronized_processing_time
	endOfWindow
	endWithFirings // after_end_of_window with early or late firings
	each
	all
	anyOf
	orFinally
	repeat
)

// none stands for a firing that a trigger doesn't have.
const none = -1

// node is one trigger of the tree. Its finished bit is its index.
type node struct {
	kind kind
	// subs are the subtriggers: early and late (or none) of endWithFirings, main and
	// finally of orFinally.
	subs []int
	// slot is where a State keeps the count or the deadline.
	slot int
	// count is how many elements an elementCount wants.
	count int64
	// due makes the deadline of an element's arrival.
	due []transform
	// phase is the bit that endWithFirings sets once the end of the window has fired.
	phase int
}

// wait is a slot that holds a deadline of one of the processing time clocks.
type wait struct {
	slot         int
	synchronized bool
}

// transform moves a time by delay, or on to the next multiple of period after offset.
type transform struct{ delay, period, offset int64 }

// compile adds t and what is below it to the tree, and returns its index. Errors start
// with the path from t to the fault.
func (s *Strategy) compile(t *pipepb.Trigger) (int, error) {
	i := len(s.nodes)
	s.nodes = append(s.nodes, node{})
	s.bits++
	n := node{slot: none, phase: none}
	var err error
	switch t := t.GetTrigger().(type) {
	case nil:
		err = errors.New(": there is none, or of a kind that is not known")
	case *pipepb.Trigger_Default_:
		n.kind = defaultTrigger
	case *pipepb.Trigger_Always_:
		n.kind = always
		s.perElement = true
	case *pipepb.Trigger_Never_:
		n.kind = never
	case *pipepb.Trigger_ElementCount_:
		n.kind = elementCount
		n.count = int64(t.ElementCount.GetElementCount())
		if n.count < 1 {
			return 0, fmt.Errorf(".element_count: %d, below 1", n.count)
		}
		n.slot = s.newSlot()
		s.perElement = true
	case *pipepb.Trigger_AfterProcessingTime_:
		n.kind = delay
		n.slot = s.newSlot()
		s.waits = append(s.waits, wait{slot: n.slot})
		n.due, err = compileTransforms(t.AfterProcessingTime.GetTimestampTransforms())
		err = at(".after_processing_time", err)
	case *pipepb.Trigger_AfterSynchronizedProcessingTime_:
		n.kind = delay
		n.slot = s.newSlot()
		s.waits = append(s.waits, wait{slot: n.slot, synchronized: true})
		// The clock upstream must have moved on from the moment of arrival: before, more
		// of what belongs to the same pane upstream may be on its way.
		n.due = []transform{{delay: 1}}
	case *pipepb.Trigger_AfterEndOfWindow_:
		n.kind = endOfWindow
		early, late := t.AfterEndOfWindow.GetEarlyFirings(), t.AfterEndOfWindow.GetLateFirings()
		if early != nil || late != nil {
			n.kind = endWithFirings
			n.subs = []int{none, none}
			if early != nil {
				n.subs[0], err = s.compile(early)
				err = at(".after_end_of_window.early_firings", err)
			}
			if late != nil && err == nil {
				n.subs[1], err = s.compile(late)
				err = at(".after_end_of_window.late_firings", err)
			}
		}
	case *pipepb.Trigger_AfterEach_:
		n.kind = each
		n.subs, err = s.compileAll(".after_each", t.AfterEach.GetSubtriggers())
	case *pipepb.Trigger_AfterAll_:
		n.kind = all
		n.subs, err = s.compileAll(".after_all", t.AfterAll.GetSubtriggers())
	case *pipepb.Trigger_AfterAny_:
		n.kind = anyOf
		n.subs, err = s.compileAll(".after_any", t.AfterAny.GetSubtriggers())
	case *pipepb.Trigger_OrFinally_:
		n.kind = orFinally
		n.subs = make([]int, 2)
		n.subs[0], err = s.compile(t.OrFinally.GetMain())
		err = at(".or_finally.main", err)
		if err == nil {
			n.subs[1], err = s.compile(t.OrFinally.GetFinally())
			err = at(".or_finally.finally", err)
		}
	case *pipepb.Trigger_Repeat_:
		n.kind = repeat
		n.subs = make([]int, 1)
		n.subs[0], err = s.compile(t.Repeat.GetSubtrigger())
		err = at(".repeat.subtrigger", err)
	}
	s.nodes[i] = n
	return i, err
}

func (s *Strategy) compileAll(field string, ts []*pipepb.Trigger) (subs []int, err error) {
	if len(ts) == 0 {
		return nil, fmt.Errorf("%s: no subtriggers", field)
	}
	for i, t := range ts {
		sub, err := s.compile(t)
		if err != nil {
			return nil, fmt.Errorf("%s.subtriggers[%d]%w", field, i, err)
		}
		subs = append(subs, sub)
	}
	return subs, nil
}

func (s *Strategy) newSlot() int {
	s.slots++
	return s.slots - 1
}

func at(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s%w", field, err)
}

func compileTransforms(ts []*pipepb.TimestampTransform) ([]transform, error) {
	var due []transform
	for i, t := range ts {
		switch t := t.GetTimestampTransform().(type) {
		case *pipepb.TimestampTransform_Delay_:
			d := t.Delay.GetDelayMillis()
			if d < 0 {
				return nil, fmt.Errorf(".timestamp_transforms[%d]: a delay of %d ms, below zero", i, d)
			}
			due = append(due, transform{delay: d})
		case *pipepb.TimestampTransform_AlignTo_:
			p := t.AlignTo.GetPeriod()
			if p <= 0 {
				return nil, fmt.Errorf(".timestamp_transforms[%d]: alignment to a period of %d ms", i, p)
			}
			// Offsets that are whole periods apart mean the same.
			due = append(due, transform{period: p, offset: mod(t.AlignTo.GetOffset(), p)})
		default:
			return nil, fmt.Errorf(".timestamp_transforms[%d]: neither a delay nor an alignment", i)
		}
	}
	return due, nil
}

// deadline returns the time at which the trigger n is due if its first element came at
// the time t.
func (n *node) deadline(t int64) int64 {
	t = min(t, idle-1)
	for _, f := range n.due {
		d := f.delay
		if f.period > 0 {
			// On a multiple already: no need to wait for the next. The remainders are
			// below the period, so their difference can't overflow.
			d = mod(f.offset-mod(t, f.period), f.period)
		}
		t = min(t, idle-1-d) + d
	}
	return max(t, reached+1)
}

// mod returns the remainder of a by b that is not negative.
func mod(a, b int64) int64 {
	if a %= b; a < 0 {
		a += b
	}
	return a
}
