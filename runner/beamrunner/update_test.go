package beamrunner

import (
	"context"
	"strings"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
)

// TestUpdateEmbedded: a program of another shape is refused under the name of a job, unless
// it says that it takes the job over; a plan ends by itself.
func TestUpdateEmbedded(t *testing.T) {
	set(t, dataDir, t.TempDir())
	set(t, jobopts.JobName, "grown")
	setFlag(t, "summerbeam_checkpoint_after", "50ms")
	ended, cancel := start(t, endlessPipeline(1))
	await(t, ended, "output", func() bool { return windows.Load() >= 1 })
	cancel()
	awaitCanceled(t, ended)

	grown := func() *beam.Pipeline {
		p := endlessPipeline(1)
		beam.ParDo0(p.Root(), touch, beam.Reshuffle(p.Root(), beam.Create(p.Root(), 1, 2, 3)))
		return p
	}
	touched.Store(0)
	if _, err := Execute(context.Background(), grown()); err == nil || !strings.Contains(err.Error(), "summerbeam_update") {
		t.Fatalf("got %v, want to hear of the option", err)
	}
	setFlag(t, "summerbeam_update", "plan")
	if _, err := Execute(context.Background(), grown()); err != nil {
		t.Fatalf("plan: %v", err)
	}
	if touched.Load() != 0 {
		t.Error("the plan has run the pipeline")
	}
	setFlag(t, "summerbeam_update", "true")
	beam.PipelineOptions.Set("summerbeam_update", "true") // the flag was an option before
	ended, cancel = start(t, grown())
	await(t, ended, "new output", func() bool { return touched.Load() == 3 })
	await(t, ended, "old output", func() bool { return windows.Load() >= 1 })
	cancel()
	awaitCanceled(t, ended)
}
