package runner

import (
	"path/filepath"
	"testing"
	"time"
)

// awaitLive waits for an execution, and returns it.
func (s *testServer) awaitLive() *execution {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if all := s.server.jobs.live.all(); len(all) > 0 {
			return all[0]
		}
	}
	s.t.Fatal("no job runs")
	return nil
}

// TestAFullDiskIsAState: who lists the jobs sees which of them wait for room.
func TestAFullDiskIsAState(t *testing.T) {
	server, _ := startServerIn(t, t.TempDir())
	id, err := server.submitAs(t, "ticking", ticking(filepath.Join(t.TempDir(), "count"), 1<<40), nil)
	if err != nil {
		t.Fatal(err)
	}
	job := server.awaitLive()
	for _, full := range []bool{true, false} {
		job.NoteDiskFull(full)
		states, err := AskStates(t.Context(), server.conn)
		if err != nil || (states[id] == StateDiskFull) != full {
			t.Errorf("the disk is full: %v; states %v, %v", full, states, err)
		}
	}
}
