// Command summerbeam runs Apache Beam pipelines: serve starts the runner, the other
// commands talk to one. It parses flags and calls package runner; nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type cli struct {
	Serve     serveCmd     `cmd:"" help:"Serve Beam's Job API: SDKs submit pipelines here, and their workers connect here."`
	Jobs      jobsCmd      `cmd:"" help:"List the jobs of a running server."`
	Cancel    cancelCmd    `cmd:"" help:"Cancel a job of a running server."`
	Drain     drainCmd     `cmd:"" help:"Let a job of a running server read no more and end with what it has."`
	Savepoint savepointCmd `cmd:"" help:"Copy what a running job could go on from to a directory of the server's or a bucket."`
	Resume    resumeCmd    `cmd:"" help:"Let a paused job go on, and try again what it could not process."`
	Restore   restoreCmd   `cmd:"" help:"Put a savepoint into a data directory, for the next server there to go on with."`

	Replay      replayCmd      `cmd:"" help:"Run a bundle that has failed again, from its capsule, by its program; or say what is in the capsule."`
	DeadLetters deadLettersCmd `cmd:"" name:"deadletters" help:"Print the elements that a job has put aside, because they failed each time."`

	Version versionCmd `cmd:"" help:"Print the version."`
}

// streams are what commands write to.
type streams struct{ out, err io.Writer }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for a graceful stop. From then on signals do what they do by
	// default, so a second one ends a stop that takes too long.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr}))
}

// Exit codes: of a command that failed, and of a command line that makes no sense.
const (
	exitFailed = 1
	exitUsage  = 2
)

// run runs the command line and returns its exit code.
func run(ctx context.Context, args []string, s streams) (code int) {
	// Kong ends the process after --help by calling Exit; run returns instead.
	exited := errors.New("exit")
	defer func() {
		if r := recover(); r != nil && r != any(exited) {
			panic(r)
		}
	}()
	parser, err := kong.New(&cli{},
		kong.Name("summerbeam"),
		kong.Description("A durable Apache Beam runner for one machine."),
		kong.Vars{"options": optionNames()},
		kong.Writers(s.out, s.err),
		kong.Exit(func(c int) {
			code = c
			panic(exited)
		}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(s),
	)
	if err != nil {
		fmt.Fprintf(s.err, "summerbeam: BUG: %v\n", err)
		return exitFailed
	}
	command, err := parser.Parse(underscores(args))
	if err != nil {
		fmt.Fprintf(s.err, "summerbeam: %v\nRun summerbeam --help for what there is.\n", err)
		return exitUsage
	}
	if err := command.Run(); err != nil {
		fmt.Fprintf(s.err, "summerbeam: %v\n", err)
		return exitFailed
	}
	return 0
}
