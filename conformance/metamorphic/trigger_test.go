package metamorphic

import (
	"fmt"
	"slices"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"pgregory.net/rapid"
)

// trigger is a drawn trigger. Its kinds are named as those of the model.
type trigger struct {
	kind string
	// count of "count"; delay and period (ms) of "processing time".
	count, delay, period int64
	// subs are the subtriggers. Those of "end of window" are the early and the late
	// firings, each of which may be nil.
	subs []*trigger
}

func (t *trigger) String() string {
	if t == nil {
		return "-"
	}
	var args []string
	switch t.kind {
	case "count":
		args = append(args, fmt.Sprint(t.count))
	case "processing time":
		args = append(args, fmt.Sprintf("+%d", t.delay))
		if t.period > 0 {
			args = append(args, fmt.Sprintf("to %d", t.period))
		}
	}
	for _, s := range t.subs {
		args = append(args, s.String())
	}
	if len(args) == 0 {
		return t.kind
	}
	return fmt.Sprintf("%s(%s)", t.kind, strings.Join(args, ", "))
}

// eager says that elements may fire it the moment they come, before the end of the
// window.
func (t *trigger) eager() bool {
	if t == nil {
		return false
	}
	return t.kind == "always" || t.kind == "count" || slices.ContainsFunc(t.subs, (*trigger).eager)
}

// continuation is the trigger of a grouping behind one with this trigger: what fires at a
// time of the window still does, what was counted or waited for is not again.
func (t *trigger) continuation() *trigger {
	if t == nil {
		return nil
	}
	c := &trigger{kind: t.kind}
	for _, s := range t.subs {
		c.subs = append(c.subs, s.continuation())
	}
	switch t.kind {
	case "count":
		c.count = 1
	case "processing time":
		c.kind = "synchronized"
	case "each": // what the next one fires may overtake what the one before has fired
		c.kind = "any"
		return &trigger{kind: "repeat", subs: []*trigger{c}}
	case "or finally": // the pane that ends it need not be the last to come
		return &trigger{kind: "repeat", subs: []*trigger{c}}
	}
	return c
}

func drawTrigger(t *rapid.T, depth int) *trigger {
	kinds := []string{"default", "always", "never", "count", "processing time", "synchronized", "end of window"}
	if depth > 0 {
		kinds = append(kinds, "repeat", "repeat", "or finally", "each", "all", "any", "early", "late", "early and late")
	}
	tr := &trigger{kind: rapid.SampledFrom(kinds).Draw(t, "trigger")}
	sub := func() *trigger { return drawTrigger(t, depth-1) }
	switch tr.kind {
	case "count":
		tr.count = rapid.Int64Range(1, 3).Draw(t, "count")
	case "processing time":
		tr.delay = rapid.Int64Range(1, 5).Draw(t, "delay")
		if rapid.Bool().Draw(t, "aligned") {
			tr.period = rapid.SampledFrom([]int64{3, 7}).Draw(t, "period")
		}
	case "repeat":
		tr.subs = []*trigger{sub()}
	case "or finally":
		tr.subs = []*trigger{sub(), sub()}
	case "each", "all", "any":
		for range rapid.IntRange(1, 3).Draw(t, "subtriggers") {
			tr.subs = append(tr.subs, sub())
		}
	case "early":
		tr.kind, tr.subs = "end of window", []*trigger{sub(), nil}
	case "late":
		tr.kind, tr.subs = "end of window", []*trigger{nil, sub()}
	case "early and late":
		tr.kind, tr.subs = "end of window", []*trigger{sub(), sub()}
	}
	return tr
}

// proto is the trigger as it stands in a pipeline.
func (t *trigger) proto() *pipepb.Trigger {
	if t == nil {
		return nil
	}
	subs := make([]*pipepb.Trigger, len(t.subs))
	for i, s := range t.subs {
		subs[i] = s.proto()
	}
	p := &pipepb.Trigger{}
	switch t.kind {
	case "default":
		p.Trigger = &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}
	case "always":
		p.Trigger = &pipepb.Trigger_Always_{Always: &pipepb.Trigger_Always{}}
	case "never":
		p.Trigger = &pipepb.Trigger_Never_{Never: &pipepb.Trigger_Never{}}
	case "count":
		p.Trigger = &pipepb.Trigger_ElementCount_{ElementCount: &pipepb.Trigger_ElementCount{ElementCount: int32(t.count)}}
	case "processing time":
		delay := &pipepb.TimestampTransform{TimestampTransform: &pipepb.TimestampTransform_Delay_{
			Delay: &pipepb.TimestampTransform_Delay{DelayMillis: t.delay}}}
		transforms := []*pipepb.TimestampTransform{delay}
		if t.period > 0 {
			transforms = append(transforms, &pipepb.TimestampTransform{TimestampTransform: &pipepb.TimestampTransform_AlignTo_{
				AlignTo: &pipepb.TimestampTransform_AlignTo{Period: t.period}}})
		}
		p.Trigger = &pipepb.Trigger_AfterProcessingTime_{AfterProcessingTime: &pipepb.Trigger_AfterProcessingTime{TimestampTransforms: transforms}}
	case "synchronized":
		p.Trigger = &pipepb.Trigger_AfterSynchronizedProcessingTime_{
			AfterSynchronizedProcessingTime: &pipepb.Trigger_AfterSynchronizedProcessingTime{}}
	case "end of window":
		end := &pipepb.Trigger_AfterEndOfWindow{}
		if len(subs) > 0 {
			end.EarlyFirings, end.LateFirings = subs[0], subs[1]
		}
		p.Trigger = &pipepb.Trigger_AfterEndOfWindow_{AfterEndOfWindow: end}
	case "repeat":
		p.Trigger = &pipepb.Trigger_Repeat_{Repeat: &pipepb.Trigger_Repeat{Subtrigger: subs[0]}}
	case "or finally":
		p.Trigger = &pipepb.Trigger_OrFinally_{OrFinally: &pipepb.Trigger_OrFinally{Main: subs[0], Finally: subs[1]}}
	case "each":
		p.Trigger = &pipepb.Trigger_AfterEach_{AfterEach: &pipepb.Trigger_AfterEach{Subtriggers: subs}}
	case "all":
		p.Trigger = &pipepb.Trigger_AfterAll_{AfterAll: &pipepb.Trigger_AfterAll{Subtriggers: subs}}
	case "any":
		p.Trigger = &pipepb.Trigger_AfterAny_{AfterAny: &pipepb.Trigger_AfterAny{Subtriggers: subs}}
	}
	return p
}
