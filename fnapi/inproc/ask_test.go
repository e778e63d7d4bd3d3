package inproc

import (
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec"
)

func TestSplitsOff(t *testing.T) {
	root := [][]byte{{1}}
	for _, tt := range []struct {
		name               string
		sr                 exec.SplitResult
		elements, residual int64
		want               bool
	}{
		{"in the middle", exec.SplitResult{PI: 4, RI: 5}, 10, -1, true},
		{"behind the last element", exec.SplitResult{PI: 9, RI: 10}, 10, -1, false},
		{"after the last element", exec.SplitResult{PI: 10, RI: 11}, 10, -1, false},
		{"of the last element", exec.SplitResult{PI: 8, RI: 10, PS: root, RS: root}, 10, -1, true},
		{"a second time", exec.SplitResult{PI: 2, RI: 3}, 10, 5, true},
		{"a second time at the same place", exec.SplitResult{PI: 4, RI: 5}, 10, 5, false},
		{"after all of the primary is done", exec.SplitResult{PI: 5, RI: 6}, 10, 5, false},
		{"of the primary's last element", exec.SplitResult{PI: 3, RI: 5, PS: root, RS: root}, 10, 5, true},
	} {
		if got := splitsOff(tt.sr, tt.elements, tt.residual); got != tt.want {
			t.Errorf("a split %s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
