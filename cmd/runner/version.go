package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCmd struct{}

// Run prints the version, the revision it was built from, and that of Beam.
func (versionCmd) Run(s streams) error {
	version, revision, beam := "(devel)", "", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			version = info.Main.Version
		}
		for _, set := range info.Settings {
			switch {
			case set.Key == "vcs.revision":
				revision = set.Value
			case set.Key == "vcs.modified" && set.Value == "true":
				revision += " (modified)"
			}
		}
		for _, dep := range info.Deps {
			if dep.Path == "github.com/apache/beam/sdks/v2" {
				beam = dep.Version
			}
		}
	}
	fmt.Fprintf(s.out, "summerbeam %s\n", version)
	if revision != "" {
		fmt.Fprintf(s.out, "revision %s\n", revision)
	}
	fmt.Fprintf(s.out, "Beam %s, %s %s/%s\n", beam, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
