package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// builder builds Beam's test packages and keeps the binaries in the repository's
// cache directory. Linking them takes minutes when nothing is cached, so a binary
// is named for all that it is made of and built once.
type builder struct {
	repo        string // root of this module
	cache       string // where builds and runs go, below repo
	beamDir     string // root of the Beam module, in Go's module cache
	beamVersion string
	goVersion   string
}

// suiteBinary is the test binary of one suite.
type suiteBinary struct {
	suite Suite
	path  string
}

func newBuilder(ctx context.Context) (*builder, error) {
	var gomod struct{ GOMOD, GOVERSION string }
	if err := goJSON(ctx, ".", &gomod, "env", "-json", "GOMOD", "GOVERSION"); err != nil {
		return nil, err
	}
	repo := filepath.Dir(gomod.GOMOD)
	// The module's directory is empty until it is downloaded.
	var beam struct{ Dir, Version string }
	if err := goJSON(ctx, repo, &beam, "mod", "download", "-json", beamModule); err != nil {
		return nil, err
	}
	return &builder{
		repo:        repo,
		cache:       filepath.Join(repo, ".cache", "conformance"),
		beamDir:     beam.Dir,
		beamVersion: beam.Version,
		goVersion:   gomod.GOVERSION,
	}, nil
}

// relative names a path as seen from the repository's root.
func (b *builder) relative(path string) string {
	if rel, err := filepath.Rel(b.repo, path); err == nil {
		return rel
	}
	return path
}

// suites returns the test binaries for a setup, built if need be. For all setups
// but the embedded ones they hold nothing but Beam.
func (b *builder) suites(ctx context.Context, setup Setup) ([]suiteBinary, error) {
	if setup.Mode == modeEmbedded {
		return b.embeddedSuites(ctx, setup.tags())
	}
	dir := filepath.Join(b.cache, "plain-"+b.beamVersion+"-"+b.goVersion)
	return b.testBinaries(ctx, dir)
}

// testBinaries builds the suites into a directory, if it does not have them, with
// additional flags of the go command.
func (b *builder) testBinaries(ctx context.Context, dir string, flags ...string) ([]suiteBinary, error) {
	var binaries []suiteBinary
	// Without debug information the binaries link faster. Stack traces need none.
	args := append([]string{"test", "-c", "-ldflags=-s -w"}, flags...)
	tmp := dir + ".tmp"
	args = append(args, "-o", tmp+string(filepath.Separator))
	for _, s := range beamSuites() {
		binaries = append(binaries, suiteBinary{s, filepath.Join(dir, s.Name+".test")})
		args = append(args, s.importPath())
	}
	if _, err := os.Stat(dir); err == nil {
		return binaries, nil
	}
	// A build that is interrupted must not look like a complete one: the
	// directory gets its name last.
	if err := os.RemoveAll(tmp); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "building Beam's suites into %s\n", b.relative(dir))
	if err := goRun(ctx, b.repo, args...); err != nil {
		return nil, err
	}
	return binaries, os.Rename(tmp, dir)
}

// prism returns Beam's own local runner as a binary.
func (b *builder) prism(ctx context.Context) (string, error) {
	binary := filepath.Join(b.cache, "prism-"+b.beamVersion+"-"+b.goVersion)
	return binary, goRun(ctx, b.repo, "build", "-o", binary, beamModule+"/go/cmd/prism")
}

// goRun runs the go command in a directory.
func goRun(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// goJSON runs the go command and decodes its output.
func goJSON(ctx context.Context, dir string, into any, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return nil
}
