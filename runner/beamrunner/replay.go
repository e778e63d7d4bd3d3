package beamrunner

import (
	"context"
	"fmt"
	"io"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/fnapi/inproc"
	"github.com/summerbeam/summerbeam/runner/engine"
)

// replayCapsule runs the bundle of a capsule again, by this program's DoFns.
func replayCapsule(ctx context.Context, file string, out io.Writer) error {
	c, err := engine.ReadCapsule(file)
	if err != nil {
		return fmt.Errorf("--summerbeam_replay: %w", err)
	}
	env := &pipepb.Environment{Urn: inproc.EnvironmentURN, Capabilities: c.Capabilities}
	w, err := inproc.Workers{}.Start(ctx, &engine.JobInfo{ID: "replay", Name: c.Name}, "replay", "capsule", env)
	if err != nil {
		return fmt.Errorf("--summerbeam_replay: %w", err)
	}
	defer w.Close()
	fmt.Fprintf(out, "stage %s of job %s, %d elements %s\n", c.Stage, c.Name, c.Elements, c.Element)
	return engine.Replay(ctx, w, c, out)
}
