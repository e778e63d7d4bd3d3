package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fakeSuite is a shell script that answers like a test binary. $1 is -test.run.
const fakeSuite = `#!/bin/sh
case "$1" in
	*TestPass*) printf '\026--- PASS: TestPass (0.00s)\nPASS\n' ;;
	*TestSkip*) printf '\026--- SKIP: TestSkip (0.00s)\nPASS\n' ;;
	*TestFail*) echo "went wrong in $PWD, temp $TMPDIR, args $*"; exit 1 ;;
	*TestDie*) kill -9 $$ ;;
	*TestHang*) sleep 100 & echo $! >&2; sleep 100 ;;
	*TestLeave*) sleep 100 & echo $!; printf '\026--- PASS: TestLeave (0.00s)\n' ;;
esac
`

func fakeRun(t *testing.T, names ...string) (map[string]Result, string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "fake.test")
	if err := os.WriteFile(binary, []byte(fakeSuite), 0o755); err != nil {
		t.Fatal(err)
	}
	var tests []Test
	for _, name := range names {
		tests = append(tests, Test{Suite: "fake", Name: name, Binary: binary})
	}
	reported := map[string]Result{}
	workDir := t.TempDir()
	results, err := runTests(context.Background(), tests, runOptions{
		flags:    []string{"--runner=fake"},
		workDir:  workDir,
		timeout:  100 * time.Millisecond,
		grace:    200 * time.Millisecond,
		parallel: 2,
		done:     func(r Result) { reported[r.Test] = r },
		alive:    func() error { return errors.New("the server has ended") },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Test != names[i] {
			t.Errorf("result %d is of %s, want %s", i, r.Test, names[i])
		}
		if reported[r.Test] != r {
			t.Errorf("%s was reported as %v, returned as %v", r.Test, reported[r.Test], r)
		}
	}
	return reported, workDir
}

func TestRunTests(t *testing.T) {
	results, workDir := fakeRun(t, "TestPass", "TestFail", "TestSkip", "TestDie")
	for name, want := range map[string]Outcome{
		"TestPass": Passed, "TestSkip": Skipped, "TestFail": Failed, "TestDie": Failed,
	} {
		if got := results[name].Outcome; got != want {
			t.Errorf("%s %s, want %s", name, got, want)
		}
	}
	fail := results["TestFail"]
	dir := filepath.Join(workDir, "fake.TestFail")
	for _, want := range []string{"went wrong in " + dir, "temp " + filepath.Join(dir, "tmp"), "-test.timeout=100ms", "--runner=fake"} {
		if !strings.Contains(fail.Tail, want) {
			t.Errorf("output %q lacks %q", fail.Tail, want)
		}
	}
	if want := "exit status 1; the server has ended"; fail.Why != want {
		t.Errorf("the test failed because of %q, want %q", fail.Why, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "tmp")); err == nil {
		t.Error("the temporary directory was left behind")
	}
}

func TestRunTestsKillsWhatHangsAndWhatIsLeft(t *testing.T) {
	start := time.Now()
	results, _ := fakeRun(t, "TestHang", "TestLeave")
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("a test of 100 ms took %s", took)
	}
	if r := results["TestHang"]; r.Outcome != Failed || !strings.Contains(r.Why, "killed after 300ms") {
		t.Errorf("the hanging test %s: %s", r.Outcome, r.Why)
	}
	if r := results["TestLeave"]; r.Outcome != Passed {
		t.Errorf("the leaving test %s: %s", r.Outcome, r.Why)
	}
	pid, err := strconv.Atoi(results["TestHang"].Tail)
	if err != nil {
		t.Fatal(err)
	}
	// The killed child is gone once its new parent has collected it.
	for deadline := time.Now().Add(10 * time.Second); running(pid); {
		if time.Now().After(deadline) {
			t.Fatalf("the hanging test's child %d still runs", pid)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// running says whether a process exists and is no zombie.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
