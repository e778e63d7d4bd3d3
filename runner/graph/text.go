package graph

import (
	"fmt"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// String renders the plan for people: stages with what goes in and out. Golden
// tests compare it, so it shows all that an engine goes by.
func (p *Plan) String() string {
	var b strings.Builder
	for _, s := range p.Stages {
		fmt.Fprintf(&b, "%s %s", s.ID, s.Kind)
		if s.Environment != "" {
			fmt.Fprintf(&b, " in %s", s.Environment)
		}
		for _, flag := range []struct {
			on   bool
			name string
		}{
			{s.Stateful, "stateful"}, {s.Splittable, "splittable"}, {s.Unbounded, "unbounded"}, {s.Finalizes, "finalizes"},
			{s.StableInput, "stable-input"},
		} {
			if flag.on {
				b.WriteString(" " + flag.name)
			}
		}
		fmt.Fprintf(&b, ": %s\n", s.Name)
		p.writeInput(&b, s)
		for _, in := range s.SideInputs {
			fmt.Fprintf(&b, "    side %s.%s %s <- %s %s\n", in.Transform, in.Local, last(in.Pattern),
				p.edges(in.From), coderText(p.Coders, in.Coder, 0))
			p.writeSideWindows(&b, in.Windows)
		}
		if s.TestService != "" {
			fmt.Fprintf(&b, "    events from %s\n", s.TestService)
		}
		if len(s.Transforms) > 0 {
			fmt.Fprintf(&b, "    runs %s\n", strings.Join(s.Transforms, " "))
		}
		for _, t := range s.Timers {
			fmt.Fprintf(&b, "    timer %s.%s %s %s\n", t.Transform, t.Family, t.Domain, coderText(p.Coders, t.Coder, 0))
		}
		if e := s.Expiry; e != nil {
			fmt.Fprintf(&b, "    expires %d ms late", e.AllowedLateness)
			if e.Family != "" {
				fmt.Fprintf(&b, ", told by %s.%s", e.Transform, e.Family)
			}
			b.WriteString("\n")
		}
		for i, o := range s.Outputs {
			lifted := ""
			if o.Lifted {
				lifted = " lifted"
			}
			fmt.Fprintf(&b, "    out %d %s%s -> %s %s\n", i, o.Collection, lifted, p.targets(o.To), coderText(p.Coders, o.Coder, 0))
		}
	}
	return b.String()
}

func (p *Plan) writeSideWindows(b *strings.Builder, w *SideWindows) {
	if w == nil {
		return
	}
	b.WriteString("      by window")
	if w.Triggered {
		b.WriteString(", as it fires")
	}
	if q := w.Mapping; q != nil {
		fmt.Fprintf(b, ", mapped in %s: %s", q.Environment, coderText(p.Coders, q.OutputCoder, 0))
	}
	b.WriteString("\n")
}

func (p *Plan) writeInput(b *strings.Builder, s *Stage) {
	if s.Input == nil {
		return
	}
	keyed := ""
	if s.Input.Keyed {
		keyed = " keyed"
	}
	fmt.Fprintf(b, "    in%s <- %s %s\n", keyed, p.edges(s.Input.From), coderText(p.Coders, s.Input.Coder, 0))
	if o := s.Input.Sorting; o != nil {
		fmt.Fprintf(b, "    sorted by time, allowed lateness %d ms\n", o.AllowedLateness)
	}
	if g := s.Input.Grouping; g != nil {
		fmt.Fprintf(b, "    groups by %s in %s to %s\n", g.Transform, last(g.Strategy.GetWindowFn().GetUrn()),
			coderText(p.Coders, g.OutputCoder, 0))
		if g.QuietClosing {
			b.WriteString("    closes quietly\n")
		}
		if m := g.Merging; m != nil {
			fmt.Fprintf(b, "    merges in %s: %s\n", m.Environment, coderText(p.Coders, m.OutputCoder, 0))
		}
		if q := g.Combining; q != nil {
			fmt.Fprintf(b, "    combines in %s: %s\n", q.Environment, coderText(p.Coders, q.OutputCoder, 0))
		}
	}
}

func (p *Plan) edges(edges []Edge) string {
	if len(edges) == 0 {
		return "nothing"
	}
	var parts []string
	for _, e := range edges {
		parts = append(parts, fmt.Sprintf("%s.%d", p.Stages[e.Stage].ID, e.Output))
	}
	return strings.Join(parts, ",")
}

func (p *Plan) targets(targets []Target) string {
	var parts []string
	for _, t := range targets {
		if t.SideInput < 0 {
			parts = append(parts, p.Stages[t.Stage].ID)
		} else {
			parts = append(parts, fmt.Sprintf("%s.side%d", p.Stages[t.Stage].ID, t.SideInput))
		}
	}
	return strings.Join(parts, ",")
}

func (k Kind) String() string {
	switch k {
	case Impulse:
		return "impulse"
	case Forward:
		return "forward"
	case SDK:
		return "sdk"
	case TestStream:
		return "test stream"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// coderText renders a coder as a short expression such as kv<lp<custom>,varint>.
// The depth is bounded: pairs of one coder twice would double at each level.
func coderText(coders map[string]*pipepb.Coder, id string, depth int) string {
	const most = 10
	c := coders[id]
	if c == nil {
		return "?"
	}
	name := last(c.GetSpec().GetUrn())
	if short, ok := shortCoders[name]; ok {
		name = short
	}
	if len(c.GetComponentCoderIds()) == 0 {
		return name
	}
	if depth >= most {
		return name + "<...>"
	}
	var parts []string
	for _, part := range c.GetComponentCoderIds() {
		parts = append(parts, coderText(coders, part, depth+1))
	}
	return name + "<" + strings.Join(parts, ",") + ">"
}

var shortCoders = map[string]string{
	"windowed_value":  "windowed",
	"length_prefix":   "lp",
	"string_utf8":     "string",
	"global_window":   "global",
	"interval_window": "interval",
}

// last returns the telling part of a URN: "kv" of "beam:coder:kv:v1".
func last(urn string) string {
	parts := strings.Split(urn, ":")
	if n := len(parts); n > 1 && strings.HasPrefix(parts[n-1], "v") {
		parts = parts[:n-1]
	}
	return parts[len(parts)-1]
}
