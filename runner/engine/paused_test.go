package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

// TestAPausedJobSaysWhy, and goes on with all but what it has done when the stage is
// corrected.
func TestAPausedJobSaysWhy(t *testing.T) {
	disk := memstore.NewDisk(nil)
	cfg := Config{Core: core.Config{Recoverable: true, OnPoison: core.PauseJob}}
	cfg.OpenStore = func() (statebackend.Store, error) { return disk.Open("job", statebackend.Options{}) }
	seen, err := poisoned(t, cfg, "13")
	var paused *PausedError
	if !errors.As(err, &paused) {
		t.Fatalf("the job has ended with %v, want a pause", err)
	}
	if paused.Stage != "s02" || paused.Transform != "n6" || !strings.Contains(paused.Element, `"\x0213"`) || !strings.Contains(err.Error(), "division by zero") {
		t.Errorf("paused %+v: %v", *paused, err)
	}
	rest, err := poisoned(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for _, v := range append(seen, rest...) {
		all[v]++
	}
	for v, n := range all {
		if n != 1 {
			t.Errorf("%s was applied %d times", v, n)
		}
	}
	if len(all) != 40 || len(rest) == 0 {
		t.Errorf("applied %d elements, %d of them behind the pause; want 40", len(all), len(rest))
	}
}
