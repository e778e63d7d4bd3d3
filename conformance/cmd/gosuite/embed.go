package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// runnerPackage registers the runner "summerbeam" when it is imported.
const runnerPackage = "github.com/summerbeam/summerbeam/runner/beamrunner"

// embeddedSuites returns test binaries that have our runner linked in.
//
// For that, a file that imports the runner must join each test package. Go's
// -overlay refuses to add a file beneath the module cache, so the module is
// copied, the files are added to the copy, and a second go.mod replaces the
// module by the copy. All other files are Beam's, byte for byte.
func (b *builder) embeddedSuites(ctx context.Context, tags string) ([]suiteBinary, error) {
	source, err := sourceHash(b.repo)
	if err != nil {
		return nil, err
	}
	kind := "embedded"
	if tags != "" {
		kind += "-" + tags
	}
	dir := filepath.Join(b.cache, strings.Join([]string{kind, b.beamVersion, b.goVersion, source}, "-"))
	modfile, err := b.beamCopy()
	if err != nil {
		return nil, err
	}
	if err := b.removeOlder(kind, dir); err != nil {
		return nil, err
	}
	return b.testBinaries(ctx, dir, "-modfile="+modfile, "-tags="+tags)
}

// beamCopy makes sure that there is a copy of the Beam module with our import in
// the test packages, and returns the path of a go.mod that leads to it.
func (b *builder) beamCopy() (modfile string, err error) {
	root := filepath.Join(b.cache, "beam-"+b.beamVersion)
	if _, err := os.Stat(root); err != nil {
		tmp := root + ".tmp"
		if err := os.RemoveAll(tmp); err != nil {
			return "", err
		}
		if err := copyModule(b.beamDir, tmp); err != nil {
			return "", fmt.Errorf("copying Beam: %w", err)
		}
		if err := addImports(tmp, beamSuites()); err != nil {
			return "", err
		}
		if err := os.Rename(tmp, root); err != nil {
			return "", err
		}
	}

	// The go command reads and writes the go.sum beside a -modfile.
	modDir := filepath.Join(b.cache, "mod-"+b.beamVersion)
	if err := os.MkdirAll(modDir, 0o755); err != nil {
		return "", err
	}
	gomod, err := os.ReadFile(filepath.Join(b.repo, "go.mod"))
	if err != nil {
		return "", err
	}
	gomod = fmt.Appendf(gomod, "\nreplace %s => %s\n", beamModule, root)
	modfile = filepath.Join(modDir, "go.mod")
	if err := os.WriteFile(modfile, gomod, 0o644); err != nil {
		return "", err
	}
	return modfile, copyFile(filepath.Join(b.repo, "go.sum"), filepath.Join(modDir, "go.sum"))
}

// copyModule copies what the Go tests of the Beam module are built from.
func copyModule(from, to string) error {
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := copyFile(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	// The module cache is read-only, and its modes would be copied by os.CopyFS.
	root := filepath.Join(from, "go")
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, "go", strings.TrimPrefix(path, root))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		return copyFile(path, target)
	})
}

// addImports adds to each suite's package a test file that imports the runner.
func addImports(beamRoot string, suites []Suite) error {
	for _, s := range suites {
		dir := filepath.Join(beamRoot, filepath.FromSlash(s.Dir))
		name, err := packageName(dir)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("package %s\n\nimport _ %q\n", name, runnerPackage)
		if err := os.WriteFile(filepath.Join(dir, "summerbeam_runner_test.go"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// packageName returns the name of the package in a directory.
func packageName(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "package "); ok {
				return strings.TrimSpace(name), nil
			}
		}
	}
	return "", fmt.Errorf("%s holds no test files", dir)
}

// sourceHash returns a hash of all that is ours in an embedded test binary: the
// Go files that are no tests, and the versions of what they depend on.
func sourceHash(repo string) (string, error) {
	var files []string
	err := filepath.WalkDir(repo, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != repo && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.Name() == "go.mod", entry.Name() == "go.sum",
			strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	slices.Sort(files)
	h := sha256.New()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n", strings.TrimPrefix(file, repo), len(text))
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// removeOlder removes the binaries of earlier states of our source, of which
// there is one for each edit: they take some 300 MB each time.
func (b *builder) removeOlder(kind, keep string) error {
	older, err := filepath.Glob(filepath.Join(b.cache, kind+"-"+b.beamVersion+"-"+b.goVersion+"-*"))
	if err != nil {
		return err
	}
	for _, dir := range older {
		if dir != keep {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
