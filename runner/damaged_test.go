package runner

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/summerbeam/summerbeam/statebackend/stores"
)

// TestADamagedStore: a job whose store was damaged fails and names the file; the server's other jobs go on.
func TestADamagedStore(t *testing.T) {
	for _, kind := range []string{stores.Pebble, stores.RocksDB} {
		t.Run(kind, func(t *testing.T) {
			if _, err := stores.Opener(kind); err != nil {
				t.Skip(err) // a program without C
			}
			dir, files := t.TempDir(), t.TempDir()
			first, stop := startServerWith(t, Config{Store: kind, DataDir: dir})
			ids := make(map[string]string)
			for _, name := range []string{"damaged", "whole"} {
				id, err := first.submitAs(t, name, ticking(filepath.Join(files, name), 1500), nil)
				if err != nil {
					t.Fatal(err)
				}
				ids[name] = id
			}
			for name := range ids {
				for count(t, filepath.Join(files, name)) < 500 {
					time.Sleep(10 * time.Millisecond)
				}
			}
			stop()
			log := flipLog(t, filepath.Join(dir, "jobs", "name-damaged", "store"))
			second, _ := startServerWith(t, Config{Store: kind, DataDir: dir})
			var said strings.Builder
			for deadline := time.Now().Add(time.Minute); !strings.Contains(said.String(), filepath.Base(log)); time.Sleep(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("the job has not said that %s is damaged, but %q", log, said.String())
				}
				said.Reset()
				stream, err := second.client.GetMessageStream(t.Context(), &jobpb.JobMessagesRequest{JobId: ids["damaged"]})
				if err != nil {
					continue // not resumed yet
				}
				for {
					m, err := stream.Recv()
					if err != nil {
						if !errors.Is(err, io.EOF) {
							said.WriteString(err.Error())
						}
						break
					}
					said.WriteString(m.GetMessageResponse().GetMessageText())
				}
			}
			if !strings.Contains(said.String(), "corrupt") {
				t.Errorf("it has said %q", said.String())
			}
			if st := second.awaitEnd(t, ids["whole"]); st != jobpb.JobState_DONE {
				t.Errorf("the other job has ended %v", st)
			}
			if n := count(t, filepath.Join(files, "whole")); n != 1500 {
				t.Errorf("it has counted %d, want 1500", n)
			}
			if _, err := os.Stat(log); err != nil {
				t.Errorf("what was damaged is not kept: %v", err)
			}
		})
	}
}

// flipLog flips a bit of the largest log in a store, before its last record.
func flipLog(t *testing.T, store string) (name string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(store, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	for _, l := range logs {
		d, err := os.ReadFile(l)
		if err != nil {
			t.Fatal(err)
		}
		if len(d) > len(data) {
			name, data = l, d
		}
	}
	if len(data) < 1000 {
		t.Fatalf("the logs %v are short", logs)
	}
	at := len(data) / 3
	for data[at] == 0 {
		at++
	}
	data[at] ^= 0x04
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
