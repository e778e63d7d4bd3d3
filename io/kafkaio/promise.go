package kafkaio

import (
	"context"
	"flag"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"
)

// unpromised says what a runner doesn't promise of ExactlyOnce, or nothing. A pipeline
// can't ask its runner, but the flag that names it is known when the pipeline is built.
func unpromised(runner string) string {
	switch runner {
	case "summerbeam":
		return ""
	case "universal", "":
		return "is as good as what runs the pipeline: exactly once only if that honours the annotation summerbeam:stable_input:v1, as a " +
			"Summerbeam server with a data directory does; on others a bundle that runs again may write records twice or lose them"
	}
	return "can't be exactly once on the runner " + runner + ", which doesn't make elements durable before they are written: " +
		"a bundle that runs again may write records twice or lose them"
}

// warnUnpromised logs it while the pipeline is built.
func warnUnpromised(name string) {
	runner := ""
	if f := flag.Lookup("runner"); f != nil {
		runner = f.Value.String()
	}
	if what := unpromised(runner); what != "" {
		log.Warnf(context.Background(), "kafkaio: ExactlyOnce(%q) %s", name, what)
	}
}
