package main

import (
	"bytes"
	"strings"
	"time"
)

// Outcome is how a test ended.
type Outcome string

// The outcomes. Whatever is neither a pass nor a skip, such as a test that
// hangs or a process that dies, is a failure.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Result is the outcome of one test on one setup.
type Result struct {
	Setup    Setup         `json:"setup"`
	Suite    string        `json:"suite"`
	Test     string        `json:"test"`
	Outcome  Outcome       `json:"outcome"`
	Duration time.Duration `json:"nanoseconds"`
	// Why says what ended a failed test, or what a skipped one lacks; Tail is the
	// last output of a failed test.
	Why  string `json:"why,omitempty"`
	Tail string `json:"tail,omitempty"`
}

// ID is the test's name in lists.
func (r Result) ID() string { return r.Suite + "/" + r.Test }

// Counts is how many tests ended in which way.
type Counts struct{ Passed, Failed, Skipped int }

func count(results []Result) Counts {
	var c Counts
	for _, r := range results {
		switch r.Outcome {
		case Passed:
			c.Passed++
		case Skipped:
			c.Skipped++
		default:
			c.Failed++
		}
	}
	return c
}

// needsDataflow is what TestOomParDo says, as a failure, when it is not told of
// the bucket to which a Dataflow worker's container writes heap dumps.
const needsDataflow = "A temp_location must be provided to correctly run TestOomParDo"

// outcomeOf reads how a test ended from its output and the process's error. The
// output is that of -test.v=test2json, where the testing package puts a ^V
// before what it says itself: a pipeline can log "--- PASS" and write half a
// line, and is still not mistaken for it.
func outcomeOf(test string, output []byte, processErr error) (Outcome, string) {
	said := func(word string) (before []byte, found bool) {
		before, _, found = bytes.Cut(output, []byte("\x16--- "+word+": "+test+" ("))
		return before, found
	}
	_, passed := said("PASS")
	beforeSkip, skipped := said("SKIP")
	switch {
	case processErr != nil && bytes.Contains(output, []byte(needsDataflow)):
		return Skipped, "only Dataflow writes the heap dumps that this test looks for"
	case processErr != nil:
		return Failed, processErr.Error()
	case passed:
		return Passed, ""
	case skipped:
		return Skipped, strings.TrimSpace(tail(beforeSkip, 1))
	default:
		return Failed, "the process ended well, but did not say that the test passed"
	}
}

// tail returns the last lines of an output without the testing package's
// markers, at most n lines.
func tail(output []byte, n int) string {
	text := strings.TrimRight(strings.ReplaceAll(string(output), "\x16", ""), "\n")
	lines := strings.Split(text, "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
