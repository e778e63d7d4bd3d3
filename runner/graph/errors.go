package graph

import (
	"fmt"
	"strings"
)

// UnsupportedError says that a pipeline is sound but asks for what this runner
// can't do. It holds all reasons at once: a user who must change a pipeline wants
// to know the whole of it, not one item per submission.
type UnsupportedError struct {
	// Reasons are in the order of the pipeline's transforms.
	Reasons []Reason
}

// Reason is one thing that is not supported.
type Reason struct {
	// Transform is the unique name of the transform that asks for it; empty if the
	// pipeline as a whole does.
	Transform string
	Text      string
}

func (e *UnsupportedError) Error() string {
	var b strings.Builder
	b.WriteString("the pipeline needs what this runner does not support:")
	for _, r := range e.Reasons {
		b.WriteString("\n  ")
		if r.Transform != "" {
			b.WriteString(r.Transform)
			b.WriteString(": ")
		}
		b.WriteString(r.Text)
	}
	return b.String()
}

// broken returns the error for a transform of a pipeline that is not well formed.
// That is a fault of the SDK that made the pipeline, not of its user, so the text
// has the ids one needs to find the place in the proto.
func broken(id, name, format string, args ...any) error {
	who := fmt.Sprintf("transform %q", id)
	if name != "" && name != id {
		who = fmt.Sprintf("transform %q (%s)", name, id)
	}
	return fmt.Errorf("malformed pipeline: %s: %w", who, fmt.Errorf(format, args...))
}
