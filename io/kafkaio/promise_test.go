package kafkaio

import (
	"strings"
	"testing"
)

// TestUnpromised: a user hears at submission what a runner can't promise.
func TestUnpromised(t *testing.T) {
	for runner, want := range map[string]string{"prism": "can't be exactly once on the runner prism", "universal": "only if", "": "only if"} {
		if got := unpromised(runner); !strings.Contains(got, want) {
			t.Errorf("on %q: %q, want to read %q", runner, got, want)
		}
	}
	if got := unpromised("summerbeam"); got != "" {
		t.Errorf("on summerbeam: %q", got)
	}
}
