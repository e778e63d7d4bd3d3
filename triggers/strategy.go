package triggers

import (
	"fmt"
	"math"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/internal/coders"
)

// Never is the time of what does not happen, and the hold of what holds nothing.
const Never int64 = math.MaxInt64

// Window is what a trigger needs to know of a window.
type Window struct {
	// Max is the last event time inside the window, in milliseconds since the epoch.
	Max int64
}

// Now is where the clocks stand, in milliseconds since the epoch.
type Now struct {
	// Watermark is the input watermark of the grouping stage: no element before it
	// is expected any more.
	Watermark int64
	// Output is the stage's output watermark, never ahead of Watermark. It follows when
	// Decide has had its say about where Watermark is, and stays behind what Hold
	// returns. An element before it can't hold it back any more, and so has no say in
	// the timestamp of its pane; a pane of a window before it is late.
	Output int64
	// Processing is the clock on the wall.
	Processing int64
	// Synchronized is the processing time that all stages upstream have caught up
	// with; math.MinInt64 if that is not known, and then triggers on it never fire.
	Synchronized int64
}

// Strategy is a compiled windowing strategy.
type Strategy struct {
	nodes []node
	// bits is how many finished bits a State has, slots how many counts and deadlines.
	bits, slots int
	// waits are the slots that hold deadlines.
	waits []wait

	lateness    int64
	output      pipepb.OutputTime_Enum
	discarding  bool
	merging     bool
	perElement  bool
	closeAlways bool
	// endAlways asks for an on-time pane even if it is empty, endFires for it only if
	// the trigger fires it.
	endAlways, endFires bool
}

// Compile makes a Strategy of ws. Its errors name the field that is malformed. The
// window function and its coder are not looked at.
//
// Enums left unspecified ask for the least: panes that hold what came since the last
// one, none of them empty, at the end of the window.
func Compile(ws *pipepb.WindowingStrategy) (*Strategy, error) {
	s := &Strategy{
		lateness:    ws.GetAllowedLateness(),
		output:      ws.GetOutputTime(),
		merging:     ws.GetMergeStatus() == pipepb.MergeStatus_NEEDS_MERGE,
		closeAlways: ws.GetClosingBehavior() == pipepb.ClosingBehavior_EMIT_ALWAYS,
		endAlways:   ws.GetOnTimeBehavior() == pipepb.OnTimeBehavior_FIRE_ALWAYS,
	}
	if s.lateness < 0 {
		return nil, fmt.Errorf("triggers: allowed_lateness is %d ms, below zero", s.lateness)
	}
	switch m := ws.GetAccumulationMode(); m {
	case pipepb.AccumulationMode_UNSPECIFIED, pipepb.AccumulationMode_DISCARDING:
		s.discarding = true
	case pipepb.AccumulationMode_ACCUMULATING:
	default:
		return nil, fmt.Errorf("triggers: accumulation_mode %v is not supported: use DISCARDING or ACCUMULATING", m)
	}
	switch s.output {
	case pipepb.OutputTime_UNSPECIFIED:
		s.output = pipepb.OutputTime_END_OF_WINDOW
	case pipepb.OutputTime_END_OF_WINDOW, pipepb.OutputTime_EARLIEST_IN_PANE, pipepb.OutputTime_LATEST_IN_PANE:
	default:
		return nil, fmt.Errorf("triggers: output_time %v is not known", s.output)
	}
	if _, err := s.compile(ws.GetTrigger()); err != nil {
		return nil, fmt.Errorf("triggers: trigger%w", err)
	}
	for i := range s.nodes {
		if n := &s.nodes[i]; n.kind == endWithFirings {
			n.phase = s.bits
			s.bits++
		}
	}
	if len(s.nodes) == 1 && s.nodes[0].kind == defaultTrigger {
		s.bits = 0 // it never finishes: the commonest state needs no bits
	}
	return s, nil
}

// QuietClosing returns a strategy like s in which nothing but the trigger causes an
// empty pane: the end of the window does so if the trigger fires at it and
// on_time_behavior asks for it, and the window's expiry never does.
//
// Beam's Python SDK asks for EMIT_ALWAYS and FIRE_ALWAYS in every strategy, since it
// has no way to choose, but its tests expect this.
func (s *Strategy) QuietClosing() *Strategy {
	q := *s
	q.closeAlways, q.endFires = false, true
	return &q
}

// PerElement says whether panes depend on each single element, in order of arrival:
// the trigger counts, or fires whenever there is something. Such a strategy gets each
// element by itself, followed by Decide.
func (s *Strategy) PerElement() bool { return s.perElement }

// Together says whether elements with timestamps from first to last may come in one
// call of Elements. If the strategy is not PerElement they nearly always may; but where
// the output watermark is among them, and panes take their earliest element's timestamp,
// it matters which of them are behind it.
func (s *Strategy) Together(first, last int64, now Now) bool {
	return !s.perElement && (s.output != pipepb.OutputTime_EARLIEST_IN_PANE || first >= now.Output || last < now.Output)
}

// Merging says whether the windows merge before they are grouped.
func (s *Strategy) Merging() bool { return s.merging }

// Discarding says whether a pane holds only what came since the one before.
func (s *Strategy) Discarding() bool { return s.discarding }

// Expiry returns the last event time at which the window still takes elements: its end
// plus the allowed lateness, but not past the end of the global window, so that every
// window expires when the watermark gets to the end of time.
func (s *Strategy) Expiry(w Window) int64 {
	limit := max(coders.GlobalWindowMaxTimestamp, w.Max)
	if s.lateness > limit-w.Max {
		return limit
	}
	return w.Max + s.lateness
}

// Late says whether the window has expired: its elements are dropped, and its state
// goes with the next Decide.
func (s *Strategy) Late(w Window, now Now) bool { return passed(now.Watermark, s.Expiry(w)) }

// passed says whether the watermark is past the event time t. At the end of time it is
// past everything, also past windows that claim to last longer.
func passed(watermark, t int64) bool { return watermark > t || watermark >= coders.MaxTimestamp }

// after returns the watermark that is the first to have passed t.
func after(t int64) int64 { return min(t, coders.MaxTimestamp-1) + 1 }
