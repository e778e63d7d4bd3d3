package seeds

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestSimulations are what the test below runs in processes of its own.
func TestSimulations(t *testing.T) {
	how := os.Getenv("SEEDS_TEST")
	if how == "" {
		return // not one of them
	}
	seen := 0
	n := Each(t, 5, func(seed uint64) {
		seen++
		switch {
		case seed != 3:
		case how == "fatal":
			t.Fatal("a violation")
		case how == "panic":
			panic("a violation")
		default:
			t.Error("a violation")
		}
	})
	if seen != n || Replaying() != (n == 1) {
		t.Errorf("%d seeds were run, it says %d", seen, n)
	}
}

// TestEach: a seed that fails ends its test, in whatever way it does, and the command that is printed runs it alone.
func TestEach(t *testing.T) {
	if os.Getenv("SEEDS_TEST") != "" {
		return
	}
	child := func(how string, args ...string) (string, error) {
		c := exec.Command(os.Args[0], append([]string{"-test.run=^TestSimulations$"}, args...)...)
		c.Env = append(os.Environ(), "SEEDS_TEST="+how)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	for _, how := range []string{"error", "fatal", "panic"} {
		out, err := child(how)
		_, line, ok := strings.Cut(out, "Replay it: go test")
		if err == nil || !ok || strings.Count(out, "a violation") < 1 || strings.Contains(out, "seed 4") {
			t.Fatalf("%s: %v\n%s", how, err, out)
		}
		line, _, _ = strings.Cut(line, "\n")
		_, flags, _ := strings.Cut(line, "./internal/testkit/seeds -run '^TestSimulations$' ")
		if flags != "-seed 3" {
			t.Fatalf("%s: the command is %q", how, line)
		}
		if out, err := child(how, strings.Fields(flags)...); err == nil || !strings.Contains(out, "a violation") {
			t.Errorf("%s: the replay: %v\n%s", how, err, out)
		}
		if out, err := child(how, "-seed", "2"); err != nil {
			t.Errorf("%s: another seed: %v\n%s", how, err, out)
		}
	}
}
