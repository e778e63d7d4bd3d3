// Package seeds runs simulations that a seed decides. For one that fails it says the one command
// that runs it again.
package seeds

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

var only = flag.Int64("seed", -1, "the only seed for simulations, to replay one")

// Each calls sim with the seeds from 0 to n-1, or with the one that the flag -seed names, and returns
// how many these are. A seed with which sim fails ends the test.
func Each(t *testing.T, n int, sim func(seed uint64)) int {
	t.Helper()
	from, to := uint64(0), uint64(n)
	if Replaying() {
		from, to = uint64(*only), uint64(*only)+1
	}
	for seed := from; seed < to; seed++ {
		if one(t, seed, sim); t.Failed() {
			t.FailNow()
		}
	}
	return int(to - from)
}

// one runs sim with one seed. It may end by t.Fatal, which deferred calls outlive, or by a panic.
func one(t *testing.T, seed uint64, sim func(uint64)) {
	t.Helper()
	over := false
	defer func() {
		t.Helper()
		if !over || t.Failed() {
			t.Errorf("seed %d fails. Replay it: %s", seed, command(t.Name(), fmt.Sprint("-seed ", seed)))
		}
	}()
	sim(seed)
	over = true
}

// Replaying says that there is one seed only. What is true of many on the average, it need not show.
func Replaying() bool { return *only >= 0 }

// Rapid says, if a test of rapid's fails, the command that replays it: rapid has its flags alone,
// and keeps what it has drawn in a file.
func Rapid(t *testing.T) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Replay it: %s", command(t.Name(), "# it begins with what rapid has saved in testdata/rapid"))
		}
	})
}

// command runs a test of the package in whose directory go test has started this process.
func command(test, args string) string {
	how := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "-tags":
				how += " -tags " + s.Value
			case s.Key == "-race" && s.Value == "true":
				how += " -race"
			}
		}
	}
	return fmt.Sprintf("go test%s ./%s -run '^%s$' %s", how, directory(), strings.ReplaceAll(test, "/", "$/^"), args)
}

// directory is this process's, from the module's root.
func directory() string {
	dir, err := os.Getwd()
	if err != nil {
		return "..."
	}
	for root := dir; root != filepath.Dir(root); root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			if rel, err := filepath.Rel(root, dir); err == nil {
				return filepath.ToSlash(rel)
			}
		}
	}
	return dir
}
