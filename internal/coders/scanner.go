package coders

import (
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// Scanner finds the ends of one coder's elements.
type Scanner struct{ root *node }

// Compile makes a scanner of the coder id in coders. Only the coders it is made of
// are looked at; what a length prefix wraps is not.
//
// It fails with ErrUnsupported in the chain if a coder, or a field of a row, is one
// the runner can't skip, and plainly if the coders are malformed: a component is
// missing, a coder contains itself, or nesting is deeper than 64.
func Compile(coders map[string]*pipepb.Coder, id string) (*Scanner, error) {
	root, err := newCompiler(coders).coder(id, 0)
	if err != nil {
		return nil, err
	}
	return &Scanner{root}, nil
}

// Skip returns the size of the element at the start of b, which is always in the
// nested encoding: nothing on the data plane is without its bounds. It returns
// ErrShort if b ends inside the element, and an error with ErrCorrupt in its chain
// for bytes that are no encoding. Some coders' elements take no bytes.
func (s *Scanner) Skip(b []byte) (n int, err error) { return done(s.root.skip(b, 0)) }
