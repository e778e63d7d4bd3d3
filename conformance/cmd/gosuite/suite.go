package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// beamModule is the module whose tests are run.
const beamModule = "github.com/apache/beam/sdks/v2"

// Suite is one test package of the Beam module.
type Suite struct {
	// Name is the package's last path element; it names the test binary.
	Name string
	// Dir is the package's path below the module.
	Dir string
}

func (s Suite) importPath() string { return beamModule + "/" + s.Dir }

// beamSuites returns the packages of the module that test a runner and need
// neither a cloud nor another language.
func beamSuites() []Suite {
	return []Suite{
		{"primitives", "go/test/integration/primitives"},
		{"regression", "go/test/regression"},
		{"synthetic", "go/test/integration/synthetic"},
		{"wordcount", "go/test/integration/wordcount"},
		{"large_wordcount", "go/examples/large_wordcount"},
	}
}

// Test is one top-level test function, in the binary it was built into.
type Test struct {
	Suite, Name string
	Binary      string
}

// ID is how lists of tests and reports name the test.
func (t Test) ID() string { return t.Suite + "/" + t.Name }

// timeout is how long the test may take: base, or a multiple of it for those
// that move a lot of data.
func (t Test) timeout(base time.Duration) time.Duration {
	if strings.Contains(t.Name, "Large") {
		return 5 * base
	}
	return base
}

// listTests asks each binary for its tests, in the order in which Beam's source
// has them.
func listTests(ctx context.Context, binaries []suiteBinary) ([]Test, error) {
	var tests []Test
	for _, b := range binaries {
		out, err := exec.CommandContext(ctx, b.path, "-test.list", "^Test").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("listing the tests of %s: %w: %s", b.suite.Name, err, out)
		}
		for line := range strings.Lines(string(out)) {
			if name := strings.TrimSpace(line); strings.HasPrefix(name, "Test") {
				tests = append(tests, Test{Suite: b.suite.Name, Name: name, Binary: b.path})
			}
		}
	}
	if len(tests) == 0 {
		return nil, fmt.Errorf("the suites hold no tests")
	}
	return tests, nil
}

// selectTests returns the tests that are in the list, if there is one, and
// match the expression. A listed test that does not exist is an error: it was
// renamed, and would be missed by nobody.
func selectTests(tests []Test, list testList, run *regexp.Regexp) ([]Test, error) {
	for id := range list {
		if !slices.ContainsFunc(tests, func(t Test) bool { return t.ID() == id }) {
			return nil, fmt.Errorf("test %s is listed, but Beam has no such test", id)
		}
	}
	var selected []Test
	for _, t := range tests {
		if _, listed := list[t.ID()]; (listed || len(list) == 0) && run.MatchString(t.ID()) {
			selected = append(selected, t)
		}
	}
	if len(selected) == 0 {
		return nil, fmt.Errorf("no test is selected")
	}
	return selected, nil
}
