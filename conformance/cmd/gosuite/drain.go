package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// drainAfter is how long a job runs before it is drained.
const drainAfter = 3 * time.Second

// wantsDrain says that a test waits for somebody to drain its job. It is the one
// whose pipeline goes on for ever.
func wantsDrain(t Test) bool { return t.ID() == "primitives/TestDrain" }

// drainer drains a test's job while it runs.
type drainer struct {
	// flags are given to the test's process.
	flags []string
	// endpoint of the runner; empty if the process drains its job by itself.
	endpoint string
}

// embeddedDrain lets the runner in the test's process drain the job.
func embeddedDrain() drainer {
	return drainer{flags: []string{"--summerbeam_drain_after=" + drainAfter.String()}}
}

// servedDrain finds the job by its name and drains it over the Job API.
func servedDrain(endpoint string) drainer { return drainer{endpoint: endpoint} }

// drainedJob begins the name that Beam's suites give the job of TestDrain; a number
// follows.
const drainedJob = "go-testdrain-"

// start drains the test's job in the background. stop waits for that to be over and
// returns what went wrong.
func (d drainer) start(ctx context.Context) (stop func() error) {
	if d.endpoint == "" {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- d.drain(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

func (d drainer) drain(ctx context.Context) error {
	conn, err := grpc.NewClient(d.endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	jobs := jobpb.NewJobServiceClient(conn)
	for {
		id, err := d.running(ctx, jobs)
		if err != nil {
			return fmt.Errorf("looking for the job to drain: %w", err)
		}
		if id == "" {
			if !sleep(ctx, 100*time.Millisecond) {
				return fmt.Errorf("no job %s* was running that could be drained", drainedJob)
			}
			continue
		}
		if !sleep(ctx, drainAfter) {
			return fmt.Errorf("job %s ended before it could be drained", id)
		}
		if _, err := jobs.Drain(ctx, &jobpb.DrainJobRequest{JobId: id}); err != nil {
			return fmt.Errorf("draining job %s: %w", id, err)
		}
		return nil
	}
}

// running returns the id of the job if it runs.
func (d drainer) running(ctx context.Context, jobs jobpb.JobServiceClient) (string, error) {
	resp, err := jobs.GetJobs(ctx, &jobpb.GetJobsRequest{})
	if err != nil {
		return "", err
	}
	for _, j := range resp.GetJobInfo() {
		if strings.HasPrefix(j.GetJobName(), drainedJob) && j.GetState() == jobpb.JobState_RUNNING {
			return j.GetJobId(), nil
		}
	}
	return "", nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
