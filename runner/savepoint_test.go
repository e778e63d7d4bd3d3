package runner

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestJobsWithoutSavepoints: who asks for one hears why there is none, and what to do.
func TestJobsWithoutSavepoints(t *testing.T) {
	files := t.TempDir()
	stages := threeStages(files, 10, filepath.Join(files, "never"))
	for _, tc := range []struct {
		what, job string
		dataDir   bool
		build     func(beam.Scope)
		want      []string
	}{
		{"a batch job with a name", "daily", true, stages, []string{"it has an end", "started again under its name", "copy its data directory"}},
		{"a batch job without one", "go-job-1-1764082320000000000", true, stages, []string{"it has an end", "--job_name"}},
		{"a server without a data directory", "clicks", false, ticking(filepath.Join(files, "count"), 1<<40), []string{"no data directory", "--data_dir"}},
		{"a job that isn't there", "", true, nil, []string{"summerbeam jobs"}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			dir := ""
			if tc.dataDir {
				dir = t.TempDir()
			}
			server, _ := startServerIn(t, dir)
			job := "nobody"
			if tc.build != nil {
				job = tc.job
				if _, err := server.submitAs(t, tc.job, tc.build, nil); err != nil {
					t.Fatal(err)
				}
				server.awaitLive()
			}
			_, err := AskSavepoint(t.Context(), server.conn, job, filepath.Join(t.TempDir(), "x"), 0)
			if status.Code(err) != codes.FailedPrecondition {
				t.Fatalf("got %v", err)
			}
			for _, text := range append(tc.want, job) {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("got %q, want %q in it", err, text)
				}
			}
		})
	}
}
