package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDeadLetters(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clicks.letters")
	header := `{"Job":"job-1","Stage":"s02","Error":"division by zero"}`
	letter := string(rune(len(header))) + header + "\x03\x00\x01\x02"
	if err := os.WriteFile(file, []byte(letter+letter+"\x05{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"deadletters", file}, streams{&out, &errs})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"Error":"division by zero"`) || !strings.HasSuffix(lines[1], `"Element":"AAEC"}`) {
		t.Errorf("printed %q, want two letters", lines)
	}
	if code == 0 || !strings.Contains(errs.String(), "cut short") {
		t.Errorf("a letter that is cut short: exit code %d, %q", code, errs.String())
	}
}
