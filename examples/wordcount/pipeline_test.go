package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/top"
)

func TestMain(m *testing.M) { ptest.Main(m) }

// corpus writes a small directory tree and returns its root.
func corpus(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.txt":         "The beam carries\nthe joists.\n",
		"sub/deep/b.md": "A joist\tcarries the floor; it's THE floor",
		"sub/empty.txt": "",
		"sub/c.bin":     "not text, not read",
		"sub/été.txt":   "été\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCountWords(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	counts := CountWords(s, corpus(t))
	passert.Equals(s, beam.ParDo(s, formatCount, counts),
		"the\t4", "beam\t1", "carries\t2", "joists\t1", "a\t1", "joist\t1",
		"floor\t2", "it\t1", "s\t1", "été\t1")

	best := top.Largest(s, beam.ParDo(s, toWordCount, counts), 3, lessFrequent)
	passert.Equals(s, best, []WordCount{{"the", 4}, {"carries", 2}, {"floor", 2}})
	ptest.RunAndValidate(t, p)
}

func TestCountWordsOfGlob(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	counts := CountWords(s, filepath.Join(corpus(t), "sub", "*", "*.md"))
	passert.Count(s, counts, "words", 7)
	ptest.RunAndValidate(t, p)
}

func TestWrite(t *testing.T) {
	out := filepath.Join(t.TempDir(), "counts")
	p, s := beam.NewPipelineWithRoot()
	Write(s, CountWords(s, filepath.Join(corpus(t), "sub", "été.txt")), out)
	ptest.RunAndValidate(t, p)

	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if want := "été\t1\n"; string(got) != want {
		t.Errorf("Write wrote %q, want %q", got, want)
	}
}

func TestCountWordsOfMissingDirectory(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	CountWords(s, filepath.Join(t.TempDir(), "missing"))
	if err := ptest.Run(p); err == nil {
		t.Error("a missing directory was counted without an error")
	}
}
