package triggers

import (
	"slices"

	"github.com/summerbeam/summerbeam/internal/coders"
)

// MergeIntervals merges windows that overlap, as sessions do: each into the smallest
// window that spans all it overlaps with, directly or through others. Windows that only
// touch stay apart. It returns the merged windows by their start, and for each of
// windows, which need be in no order, the index of the one it went into.
func MergeIntervals(windows []coders.IntervalWindow) (merged []coders.IntervalWindow, into []int) {
	order := make([]int, len(windows))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch x, y := windows[a], windows[b]; {
		case x.Start < y.Start, x.Start == y.Start && x.End < y.End:
			return -1
		case x == y:
			return 0
		}
		return 1
	})
	into = make([]int, len(windows))
	for _, i := range order {
		w := windows[i]
		last := len(merged) - 1
		if last >= 0 && (w.Start < merged[last].End || w == merged[last]) {
			merged[last].End = max(merged[last].End, w.End)
		} else {
			merged = append(merged, w)
			last++
		}
		into[i] = last
	}
	return merged, into
}
