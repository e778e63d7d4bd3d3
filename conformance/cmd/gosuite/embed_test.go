package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeTree(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o444); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCopyModuleAndAddImports(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	writeTree(t, from, map[string]string{
		"go.mod": "module m", "go.sum": "",
		"go/pkg/a_test.go":          "// Licence\n\n// Package main.\npackage main\n\nvar x = `\npackage no`\n",
		"go/pkg/testdata/words.txt": "words",
		"java/A.java":               "class A {}",
	})
	if err := copyModule(from, to); err != nil {
		t.Fatal(err)
	}
	if err := addImports(to, []Suite{{"pkg", "go/pkg"}}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"go.mod":                           "module m",
		"go/pkg/testdata/words.txt":        "words",
		"go/pkg/summerbeam_runner_test.go": "package main\n\nimport _ \"" + runnerPackage + "\"\n",
		"go/pkg/a_test.go":                 "package no",
	} {
		text, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s is %q (%v), want %q in it", name, text, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(to, "java")); err == nil {
		t.Error("more was copied than the Go code")
	}
	if err := addImports(to, []Suite{{"none", "go"}}); err == nil {
		t.Error("an import was added to a directory without tests")
	}
}

func TestSourceHash(t *testing.T) {
	root := t.TempDir()
	hash := func(files map[string]string) string {
		t.Helper()
		for name := range files {
			_ = os.Remove(filepath.Join(root, name))
		}
		writeTree(t, root, files)
		h, err := sourceHash(root)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	before := hash(map[string]string{"go.mod": "module m", "a/a.go": "package a"})
	for name, same := range map[string]bool{
		"a/a_test.go": true, "README.md": true, ".cache/x/x.go": true, "a/testdata/t.go": true,
		"a/b.go": false,
	} {
		after := hash(map[string]string{name: "package a"})
		if (after == before) != same {
			t.Errorf("%s leaves the hash as it was: %t, want %t", name, !same, same)
		}
		before = after
	}
	if hash(map[string]string{"a/a.go": "package a // changed"}) == before {
		t.Error("a changed file leaves the hash as it was")
	}
}
