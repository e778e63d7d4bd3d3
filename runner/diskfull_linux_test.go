package runner

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
)

// TestABatchJobOnASmallDisk: a real file system that is too small for what a job spills. Jobs say that
// they wait; one is cancelled meanwhile; one ends with the right sums when the disk has become larger.
func TestABatchJobOnASmallDisk(t *testing.T) {
	const each = 300_000                                                     // 30 MB altogether
	for _, name := range []string{"daily", "go-job-1-1764082320000000000"} { // with a home, and without
		t.Run(name, func(t *testing.T) {
			dir, files := t.TempDir(), t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=6m"); err != nil {
				t.Skipf("mounting needs root: %v", err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			})
			server, stop := startServerWith(t, Config{Store: "pebble", DataDir: dir, MemoryBytes: 1 << 20})
			defer stop() // before the disk goes
			submit := func(files string) (id string) {
				t.Helper()
				id, err := server.submitAs(t, name, threeStages(files, each, ""), nil)
				if err != nil {
					t.Fatal(err)
				}
				for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
					states, err := AskStates(t.Context(), server.conn)
					if err != nil {
						t.Fatal(err)
					}
					if states[id] == StateDiskFull {
						return id
					}
					if st, err := server.client.GetState(t.Context(), &jobpb.GetJobStateRequest{JobId: id}); err != nil || st.GetState() != jobpb.JobState_RUNNING && st.GetState() != jobpb.JobState_STARTING || time.Now().After(deadline) {
						t.Fatalf("the job does not wait: %v, %v", st, err)
					}
				}
			}
			id := submit(t.TempDir())
			if _, err := server.client.Cancel(t.Context(), &jobpb.CancelJobRequest{JobId: id}); err != nil {
				t.Fatal(err)
			}
			if st := server.awaitEnd(t, id); st != jobpb.JobState_CANCELLED {
				t.Fatalf("the cancelled job is %v", st)
			}
			id = submit(files)
			if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=400m"); err != nil {
				t.Fatal(err)
			}
			if st := server.awaitEnd(t, id); st != jobpb.JobState_DONE {
				t.Fatalf("the job is %v", st)
			}
			got := noted(t, filepath.Join(files, "first"))
			for k := range int64(10) {
				n := int64(each / 10)
				if sum := fmt.Sprintf("k%d:%d:%d", k, 4*n, 4*(n*k+10*n*(n-1)/2)); got[sum] != 1 {
					t.Errorf("no %s in %v", sum, got)
				}
			}
		})
	}
}
