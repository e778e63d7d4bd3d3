package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/summerbeam/summerbeam/internal/rpc"
	"github.com/summerbeam/summerbeam/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// client are the flags of commands that talk to a server.
type client struct {
	Endpoint string        `name:"endpoint" default:"127.0.0.1:8073" help:"Address of the server (default: ${default})."`
	Timeout  time.Duration `name:"timeout" default:"10s" help:"How long to wait for an answer (default: ${default})."`
}

// call calls f with a client of the server's job service.
func (c *client) call(ctx context.Context, f func(context.Context, jobpb.JobServiceClient) error) error {
	return c.connect(ctx, func(ctx context.Context, cc grpc.ClientConnInterface) error {
		return f(ctx, jobpb.NewJobServiceClient(cc))
	})
}

// connect calls f with a connection to the server.
func (c *client) connect(ctx context.Context, f func(context.Context, grpc.ClientConnInterface) error) error {
	conn, err := rpc.Connect(c.Endpoint)
	if err != nil {
		return fmt.Errorf("endpoint %q: %w", c.Endpoint, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	err = f(ctx, conn)
	switch s := status.Convert(err); s.Code() {
	case codes.OK:
		return nil
	case codes.Unavailable:
		return fmt.Errorf("no server answers at %s (%s): start one with summerbeam serve, or name it with --endpoint", c.Endpoint, s.Message())
	case codes.DeadlineExceeded:
		return fmt.Errorf("the server at %s has not answered within %v", c.Endpoint, c.Timeout)
	default:
		return fmt.Errorf("%s", s.Message())
	}
}

type jobsCmd struct{ client }

// Run prints a line for each job, the oldest first.
func (c *jobsCmd) Run(ctx context.Context, s streams) error {
	return c.connect(ctx, func(ctx context.Context, cc grpc.ClientConnInterface) error {
		resp, err := jobpb.NewJobServiceClient(cc).GetJobs(ctx, &jobpb.GetJobsRequest{})
		if err != nil {
			return err
		}
		states, err := runner.AskStates(ctx, cc)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "JOB\tSTATE\tNAME")
		for _, j := range resp.GetJobInfo() {
			state := j.GetState().String()
			if s := states[j.GetJobId()]; s != "" {
				state = s
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", j.GetJobId(), state, printable(j.GetJobName()))
		}
		return w.Flush()
	})
}

type cancelCmd struct {
	client
	Job string `arg:"" help:"Id of the job, as summerbeam jobs prints it."`
}

// Run asks for the job's end and prints the state it is in.
func (c *cancelCmd) Run(ctx context.Context, s streams) error {
	return c.call(ctx, func(ctx context.Context, jobs jobpb.JobServiceClient) error {
		resp, err := jobs.Cancel(ctx, &jobpb.CancelJobRequest{JobId: c.Job})
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "%s %s\n", c.Job, resp.GetState())
		return nil
	})
}

type drainCmd struct {
	client
	Job string `arg:"" help:"Id of the job, as summerbeam jobs prints it."`
}

// Run asks the job to read no more and to end with what it has, and prints the state
// it is in.
func (c *drainCmd) Run(ctx context.Context, s streams) error {
	return c.call(ctx, func(ctx context.Context, jobs jobpb.JobServiceClient) error {
		resp, err := jobs.Drain(ctx, &jobpb.DrainJobRequest{JobId: c.Job})
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "%s %s\n", c.Job, resp.GetState())
		return nil
	})
}

type savepointCmd struct {
	client
	Job string `arg:"" help:"Id or name of the job, as summerbeam jobs prints them."`
	To  string `arg:"" help:"Directory on the server's machine, or URL of a bucket: s3://BUCKET/PATH, gs://BUCKET/PATH, azblob://CONTAINER/PATH, with the server's credentials. Files of the job's savepoints that are there already are not sent again."`

	Keep int `name:"keep" help:"Keep so many savepoints of the job there, and remove older ones (default: all)."`
}

// Run asks for a savepoint and waits for it.
func (c *savepointCmd) Run(ctx context.Context, s streams) error {
	to := c.To
	if !runner.IsURL(to) {
		abs, err := filepath.Abs(to)
		if err != nil {
			return err
		}
		to = abs
	}
	c.Timeout = max(c.Timeout, 10*time.Minute) // a copy to another disk takes its time
	return c.connect(ctx, func(ctx context.Context, cc grpc.ClientConnInterface) error {
		done, err := runner.AskSavepoint(ctx, cc, c.Job, to, c.Keep)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "savepoint %s of %s in %s: %d files, %d bytes; sent %d files, %d bytes\n",
			done.ID, printable(c.Job), to, done.Files, done.Bytes, done.SentFiles, done.SentBytes)
		return nil
	})
}

type resumeCmd struct {
	client
	Job string `arg:"" help:"Id or name of the paused job, as summerbeam jobs prints them."`
}

// Run lets a paused job go on.
func (c *resumeCmd) Run(ctx context.Context, s streams) error {
	return c.connect(ctx, func(ctx context.Context, cc grpc.ClientConnInterface) error {
		if err := runner.AskResume(ctx, cc, c.Job); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "%s goes on\n", c.Job)
		return nil
	})
}

type restoreCmd struct {
	From    string `arg:"" help:"Directory or URL that savepoints were made in."`
	ID      string `name:"id" help:"Which savepoint, as summerbeam savepoint has printed it (default: the last)."`
	JobName string `name:"job_name" help:"Of which job, if there are savepoints of several."`
	DataDir string `name:"data_dir" required:"" help:"Data directory of the server to be, or of the program whose job it is."`
}

// Run copies the savepoint. No server may run on the data directory.
func (c *restoreCmd) Run(ctx context.Context, s streams) error {
	name, err := runner.Restore(ctx, c.From, c.JobName, c.ID, c.DataDir)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "job %s is in %s: start a server there, or the job's program\n", name, c.DataDir)
	return nil
}

// printable keeps a job's name, which anybody may have chosen, from moving the
// terminal's cursor or the table's columns.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
}
