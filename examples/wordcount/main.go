// Wordcount counts the words of all text files below a directory and prints
// the most frequent ones. It is an ordinary Beam pipeline; the --runner flag
// alone decides where it runs:
//
//	go run ./examples/wordcount --runner=summerbeam
//	go run ./examples/wordcount --runner=universal --endpoint=localhost:8073 --environment_type=LOOPBACK
//	go run ./examples/wordcount --runner=prism
//	go run ./examples/wordcount --runner=direct
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	beamlog "github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"
	// Makes --runner=summerbeam known. The other runners come with beamx.
	_ "github.com/summerbeam/summerbeam/runner/beamrunner"
)

var (
	input  = flag.String("input", "", "Directory to count, or a glob of files (default: the Go distribution's source).")
	output = flag.String("output", "", "File to write all words and counts to, one word a line (optional).")
	n      = flag.Int("top", 10, "How many of the most frequent words to print.")
)

func main() {
	// The same binary is the launcher and, started by a runner, the worker:
	// Init does not return in a worker.
	flag.Parse()
	beam.Init()

	// textio logs a line for each file it reads, and there may be thousands.
	beamlog.SetLogger(&beamlog.Standard{Level: beamlog.SevWarn})

	if err := run(context.Background()); err != nil {
		log.Fatalf("wordcount: %v", err)
	}
}

func run(ctx context.Context) error {
	if *input == "" {
		source, err := goSource()
		if err != nil {
			return err
		}
		*input = source
	}

	p, s := beam.NewPipelineWithRoot()
	counts := CountWords(s, *input)
	PrintTop(s, counts, *n)
	if *output != "" {
		Write(s, counts, *output)
	}

	start := time.Now()
	if err := beamx.Run(ctx, p); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "wordcount: done in %.1f s\n", time.Since(start).Seconds())
	return nil
}

// goSource returns the source directory of the Go distribution: some 100 MB of
// text that whoever builds this program has at hand.
func goSource() (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("finding the Go distribution's source: %w; set --input to a directory or a glob", err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "src"), nil
}
