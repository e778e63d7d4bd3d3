package dirs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReal(t *testing.T) {
	tmp, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(tmp, "there"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("there", filepath.Join(tmp, "link")); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		"there":       "there",
		"link":        "there",
		"link/x/y":    "there/x/y",
		"link/x/..":   "there",
		"none/":       "none",
		"./link//new": "there/new",
	} {
		got, err := Real(tmp + "/" + dir)
		if want := filepath.Join(tmp, want); err != nil || got != want {
			t.Errorf("Real(%s) = %s, %v; want %s", dir, got, err, want)
		}
	}
	t.Chdir(tmp)
	if got, err := Real("link/new"); err != nil || got != filepath.Join(tmp, "there/new") {
		t.Errorf("Real of a relative path = %s, %v", got, err)
	}
}

func TestMake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := Make(dir); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Make(filepath.Join(file, "x")); err == nil {
		t.Error("made a directory in a file")
	}
}
