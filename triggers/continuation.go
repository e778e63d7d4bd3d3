package triggers

import (
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// Continuation returns the trigger that a grouping uses whose input was grouped by t, so
// that it hands on panes soon after they come: what fires at a time of the window still
// does, counts are done with, and delays were waited for already. It is nil if t is, or
// is of a kind that is not known. The result shares nothing with t.
func Continuation(t *pipepb.Trigger) *pipepb.Trigger {
	switch t := t.GetTrigger().(type) {
	case *pipepb.Trigger_Default_:
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}}
	case *pipepb.Trigger_Always_:
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_Always_{Always: &pipepb.Trigger_Always{}}}
	case *pipepb.Trigger_Never_:
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_Never_{Never: &pipepb.Trigger_Never{}}}
	case *pipepb.Trigger_ElementCount_:
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_ElementCount_{
			ElementCount: &pipepb.Trigger_ElementCount{ElementCount: 1},
		}}
	case *pipepb.Trigger_AfterProcessingTime_, *pipepb.Trigger_AfterSynchronizedProcessingTime_:
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterSynchronizedProcessingTime_{
			AfterSynchronizedProcessingTime: &pipepb.Trigger_AfterSynchronizedProcessingTime{},
		}}
	case *pipepb.Trigger_AfterEndOfWindow_:
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterEndOfWindow_{
			AfterEndOfWindow: &pipepb.Trigger_AfterEndOfWindow{
				EarlyFirings: Continuation(t.AfterEndOfWindow.GetEarlyFirings()),
				LateFirings:  Continuation(t.AfterEndOfWindow.GetLateFirings()),
			},
		}}
	case *pipepb.Trigger_AfterEach_:
		// Panes of the next trigger may overtake those of the one before.
		return repeatedly(&pipepb.Trigger{Trigger: &pipepb.Trigger_AfterAny_{
			AfterAny: &pipepb.Trigger_AfterAny{Subtriggers: continuations(t.AfterEach.GetSubtriggers())},
		}})
	case *pipepb.Trigger_AfterAll_:
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterAll_{
			AfterAll: &pipepb.Trigger_AfterAll{Subtriggers: continuations(t.AfterAll.GetSubtriggers())},
		}}
	case *pipepb.Trigger_AfterAny_:
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterAny_{
			AfterAny: &pipepb.Trigger_AfterAny{Subtriggers: continuations(t.AfterAny.GetSubtriggers())},
		}}
	case *pipepb.Trigger_OrFinally_:
		// The pane that finishes the trigger need not be the last to come.
		return repeatedly(&pipepb.Trigger{Trigger: &pipepb.Trigger_OrFinally_{
			OrFinally: &pipepb.Trigger_OrFinally{
				Main:    Continuation(t.OrFinally.GetMain()),
				Finally: Continuation(t.OrFinally.GetFinally()),
			},
		}})
	case *pipepb.Trigger_Repeat_:
		return repeatedly(Continuation(t.Repeat.GetSubtrigger()))
	}
	return nil
}

func continuations(ts []*pipepb.Trigger) []*pipepb.Trigger {
	cs := make([]*pipepb.Trigger, len(ts))
	for i, t := range ts {
		cs[i] = Continuation(t)
	}
	return cs
}

func repeatedly(t *pipepb.Trigger) *pipepb.Trigger {
	return &pipepb.Trigger{Trigger: &pipepb.Trigger_Repeat_{Repeat: &pipepb.Trigger_Repeat{Subtrigger: t}}}
}
