package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/summerbeam/summerbeam/runner/engine"
)

type replayCmd struct {
	File    string   `arg:"" help:"A capsule, from the directory capsules of a data directory."`
	Program []string `arg:"" optional:"" passthrough:"" help:"The Go program of the job, and its arguments: -- PROGRAM ARGS. It must have the import of package beamrunner."`
}

// Run has the program run the bundle; without one it says what the capsule holds.
func (c *replayCmd) Run(ctx context.Context, s streams) error {
	held, err := engine.ReadCapsule(c.File)
	if err != nil {
		return err
	}
	program := c.Program
	if len(program) > 0 && program[0] == "--" {
		program = program[1:]
	}
	if len(program) == 0 {
		fmt.Fprintf(s.out, "job        %s (%s)\nstage      %s\n", printable(held.Name), held.Job, held.Stage)
		for _, t := range held.Transforms {
			blamed := ""
			if t == held.Transform {
				blamed = "  <- failed"
			}
			fmt.Fprintf(s.out, "transform  %s%s\n", printable(t), blamed)
		}
		timers := 0
		for _, t := range held.Timers {
			timers += len(t.Data)
		}
		fmt.Fprintf(s.out, "input      %d elements, %d bytes %s\ntimers     %d bytes\nstate      %d answers\nerror\n%s\n",
			held.Elements, len(held.Input), held.Element, timers, len(held.State), held.Error)
		return nil
	}
	file, err := filepath.Abs(c.File)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program[0], append(program[1:len(program):len(program)], "--runner=summerbeam", "--summerbeam_replay="+file)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, s.out, s.err
	err = cmd.Run()
	if exited := (*exec.ExitError)(nil); errors.As(err, &exited) {
		return fmt.Errorf("%s: %w", program[0], err)
	}
	return err
}
