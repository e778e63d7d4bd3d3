package metamorphic

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	beam.Init()
	os.Exit(m.Run())
}

// TestPanes: a pipeline has the panes that the model says, run in any way. A failure says
// which flag of rapid runs it again.
func TestPanes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProgram(t)
		w := drawWay(t)
		got, err := w.run(p)
		if err != nil {
			t.Fatalf("%v\nrun by %+v: %v", p, w, err)
		}
		if diff := cmp.Diff(lines(p.run(start).panes), lines(got)); diff != "" {
			t.Fatalf("%v\nrun by %+v (-model +run):\n%s", p, w, diff)
		}
	})
}

// lines are panes as text, in order of key and window. Those of one stay in the order in
// which they were numbered.
func lines(panes []pane) []string {
	panes = slices.Clone(panes)
	slices.SortStableFunc(panes, func(a, b pane) int {
		if c := strings.Compare(a.key, b.key); c != 0 {
			return c
		}
		if c := a.window.start - b.window.start; c != 0 {
			return int(c)
		}
		if c := a.window.end - b.window.end; c != 0 {
			return int(c)
		}
		return int(a.index - b.index)
	})
	out := []string{}
	for _, p := range panes {
		out = append(out, p.String())
	}
	return out
}
