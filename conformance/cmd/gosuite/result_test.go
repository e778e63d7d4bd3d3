package main

import (
	"errors"
	"testing"
)

func TestOutcomeOf(t *testing.T) {
	exit1 := errors.New("exit status 1")
	for _, c := range []struct {
		name, output string
		err          error
		want         Outcome
	}{
		{"pass", "=== RUN TestX\nlog\n\x16--- PASS: TestX (0.01s)\nPASS\n", nil, Passed},
		{"pass after half a line of a log", "half\x16--- PASS: TestX (0.01s)\n", nil, Passed},
		{"skip", "=== RUN TestX\n    x_test.go:1: no bucket\n\x16--- SKIP: TestX (0.00s)\nPASS\n", nil, Skipped},
		{"fail", "\x16--- FAIL: TestX (0.00s)\n", exit1, Failed},
		{"exit after a pass", "\x16--- PASS: TestX (0.00s)\n", exit1, Failed},
		{"a log that looks like a pass", "--- PASS: TestX (0.00s)\n", nil, Failed},
		{"a pass of another test", "\x16--- PASS: TestXY (0.00s)\n", nil, Failed},
		{"nothing ran", "testing: warning: no tests to run\nPASS\n", nil, Failed},
		{"Dataflow's", needsDataflow + "\n\x16--- FAIL: TestX (0.00s)\n", exit1, Skipped},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, why := outcomeOf("TestX", []byte(c.output), c.err)
			if got != c.want {
				t.Errorf("outcome %q (%s), want %q", got, why, c.want)
			}
			if got != Passed && why == "" {
				t.Errorf("%s without a reason", got)
			}
		})
	}
}

func TestTail(t *testing.T) {
	if got, want := tail([]byte("a\n\x16b\nc\n\n"), 2), "b\nc"; got != want {
		t.Errorf("tail = %q, want %q", got, want)
	}
	if got, want := tail([]byte("a\n"), 2), "a"; got != want {
		t.Errorf("tail = %q, want %q", got, want)
	}
}
