package metamorphic

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/summerbeam/summerbeam/internal/testkit/seeds"
)

func TestMain(m *testing.M) {
	beam.Init()
	os.Exit(m.Run())
}

// standard are the WindowFns of the Go SDK.
var standard = []string{"fixed", "sliding", "sessions", "global"}

// TestPanes: a pipeline has the panes that the model says, run in any way. A failure says
// which flag of rapid runs it again.
func TestPanes(t *testing.T) {
	s := newSite(t)
	seeds.Rapid(t)
	rapid.Check(t, func(t *rapid.T) {
		p := drawProgram(t, standard...)
		w := drawWay(t)
		f := p.run(start)
		if f.unclear() {
			t.Skip("the model leaves it open")
		}
		got, err := w.run(s, p)
		if err != nil {
			t.Fatalf("%v\nrun by %+v: %v", p, w, err)
		}
		want, seen := f.lines(), got.lines()
		if len(w.crashes) > 0 {
			// What was not durable comes again, and must be the same.
			want, seen = once(want), once(seen)
		}
		if diff := gocmp.Diff(want, seen); diff != "" {
			t.Fatalf("%v\nrun by %+v (-model +run):\n%s", p, w, diff)
		}
	})
}

func (f *flow) lines() []string {
	var notes []note
	if f.remember != nil {
		notes = f.remember.notes
	}
	return lines(f.panes(), notes)
}

func (s *seen) lines() []string { return lines(s.panes, s.notes) }

// lines are panes and notes as text, in order of grouping, key and window. The panes of one
// are in the order in which they were numbered, the notes in that in which they came.
func lines(panes []pane, notes []note) []string {
	panes, notes = slices.Clone(panes), slices.Clone(notes)
	slices.SortStableFunc(notes, func(a, b note) int {
		return cmp.Or(strings.Compare(a.key, b.key), a.window.compare(b.window))
	})
	slices.SortStableFunc(panes, func(a, b pane) int {
		return cmp.Or(cmp.Compare(a.grouping, b.grouping), strings.Compare(a.key, b.key), a.window.compare(b.window), cmp.Compare(a.index, b.index))
	})
	out := []string{}
	for _, n := range notes {
		out = append(out, fmt.Sprintf("%s %v %s", n.key, n.window, n.text))
	}
	for _, p := range panes {
		out = append(out, p.String())
	}
	return out
}

// once are the lines there are, each once.
func once(lines []string) []string { return slices.Compact(slices.Sorted(slices.Values(lines))) }

func (w window) compare(o window) int {
	return cmp.Or(cmp.Compare(w.start, o.start), cmp.Compare(w.end, o.end))
}
