package runner

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/protobuf/types/known/structpb"
)

func TestInventedNames(t *testing.T) {
	for name, want := range map[string]bool{
		"": true, "go-job-1-1764082320000000000": true, "wordcount-jane-1125141200-1a2b3c4d": true,
		"clicks": false, "go-job-1": false, "clicks-20261125": false, "job": false, "eu-1125141200": false,
	} {
		if got := invented.MatchString(name); got != want {
			t.Errorf("%q: invented %v, want %v", name, got, want)
		}
	}
}

// TestOldUnnamedJobsAreRemoved: those that nobody can go on with, when they are old, and not in use.
func TestOldUnnamedJobsAreRemoved(t *testing.T) {
	j, err := newJobs(Config{DataDir: t.TempDir(), Store: "pebble", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	loopback, err := structpb.NewStruct(map[string]any{"beam:option:environment_type:v1": "LOOPBACK"})
	if err != nil {
		t.Fatal(err)
	}
	const unnamed = "go-job-1-1764082320000000000"
	now := time.Now()
	var inUse func() error
	for _, tc := range []struct {
		dir, name, failed string
		opts              *structpb.Struct
		age               time.Duration
		keep              bool
	}{
		{dir: "old", name: unnamed, opts: loopback, age: 2 * unnamedAge},
		{dir: "failed", name: unnamed, failed: "a bug", age: 2 * unnamedAge},
		{dir: "young", name: unnamed, opts: loopback, age: unnamedAge / 2, keep: true},
		{dir: "named", name: "clicks", opts: loopback, age: 2 * unnamedAge, keep: true},
		{dir: "startable", name: unnamed, age: 2 * unnamedAge, keep: true},
		{dir: "used", name: unnamed, opts: loopback, age: 2 * unnamedAge, keep: true},
	} {
		h := home{dir: filepath.Join(j.dir, "jobs", tc.dir), record: homeRecord{Version: homeVersion, Name: tc.name}}
		if err := h.move(tc.dir, &jobpb.PrepareJobRequest{JobName: tc.name, PipelineOptions: tc.opts}); err != nil {
			t.Fatal(err)
		}
		h.record.Failed = tc.failed
		if err := h.write(); err != nil {
			t.Fatal(err)
		}
		st, err := j.openStore(h.store(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if tc.dir == "used" {
			inUse = st.Close
		} else if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{h.file(), h.store()} {
			if err := os.Chtimes(name, now, now.Add(-tc.age)); err != nil {
				t.Fatal(err)
			}
		}
		defer func() {
			_, err := os.Stat(h.dir)
			if there := err == nil; there != tc.keep {
				t.Errorf("%s: there %v, want %v", tc.dir, there, tc.keep)
			}
		}()
	}
	j.sweepUnnamed(now)
	if err := inUse(); err != nil {
		t.Fatal(err)
	}
}
