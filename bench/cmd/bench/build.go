package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// programs are the paths of what is run.
type programs struct {
	shape, wordcount, prism string
	// load are Beam's load tests, by name.
	load map[string]string
}

const beam = "github.com/apache/beam/sdks/v2/go"

// loadTestNames are the packages below Beam's go/test/load.
var loadTestNames = []string{"pardo", "group_by_key", "combine", "cogbk", "sideinput"}

// build compiles what the flags need into the cache.
func build(ctx context.Context, f *flags) (programs, error) {
	bin := filepath.Join(f.Cache, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return programs{}, err
	}
	compile := func(name, pkg string) (string, error) {
		out := filepath.Join(bin, name)
		cmd := exec.CommandContext(ctx, "go", "build", "-tags", "rocksdb", "-o", out, pkg)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("building %s: %w", pkg, err)
		}
		return out, nil
	}
	p := programs{load: map[string]string{}}
	var err error
	if p.shape, err = compile("shape", "github.com/summerbeam/summerbeam/bench/cmd/shape"); err != nil {
		return p, err
	}
	if p.prism, err = compile("prism", beam+"/cmd/prism"); err != nil {
		return p, err
	}
	if f.Wordcount != "" {
		if p.wordcount, err = compile("wordcount", "github.com/summerbeam/summerbeam/examples/wordcount"); err != nil {
			return p, err
		}
	}
	if f.Load {
		for _, name := range loadTestNames {
			if p.load[name], err = compile("load_"+name, beam+"/test/load/"+name); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}
