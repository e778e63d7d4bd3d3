package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestReadTestList(t *testing.T) {
	got, err := readTestList(writeFile(t, "# comment\n\nprimitives/TestA needs timers\n  regression/TestB\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := testList{"primitives/TestA": "needs timers", "regression/TestB": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"TestA reason\n", "a/TestA\na/TestA\n", "a/b/TestA\n"} {
		if _, err := readTestList(writeFile(t, bad)); err == nil {
			t.Errorf("%q was read without an error", bad)
		}
	}
	if got, err := readTestList(""); len(got) != 0 || err != nil {
		t.Errorf("no file: %v, %v", got, err)
	}
}

func TestSurprises(t *testing.T) {
	list := testList{"p/TestListedFails": "", "p/TestListedPasses": "", "p/TestListedSkips": "", "p/TestGone": ""}
	results := []Result{
		{Suite: "p", Test: "TestPasses", Outcome: Passed},
		{Suite: "p", Test: "TestSkips", Outcome: Skipped},
		{Suite: "p", Test: "TestFails", Outcome: Failed},
		{Suite: "p", Test: "TestListedFails", Outcome: Failed},
		{Suite: "p", Test: "TestListedPasses", Outcome: Passed},
		{Suite: "p", Test: "TestListedSkips", Outcome: Skipped},
	}
	for i := range results {
		results[i].Setup = Setup{Mode: modePrism}
	}
	want := []string{
		"p/TestGone is expected to fail, but there is no such test: take it off the list",
		"prism: p/TestFails failed and is not expected to",
		"prism: p/TestListedPasses passed and is expected to fail: take it off the list",
		"prism: p/TestListedSkips skipped and is expected to fail: take it off the list",
	}
	if diff := cmp.Diff(want, list.surprises(results, true)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[1:], list.surprises(results, false)); diff != "" {
		t.Errorf("of a selection: %s", diff)
	}
	if got := (testList{}).surprises(results[:2], true); len(got) != 0 {
		t.Errorf("surprises of passing tests: %v", got)
	}
}
