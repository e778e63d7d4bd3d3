package engine

import (
	"iter"

	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// claimReader is a running bundle's claim as the worker reads it. What was on disk is read
// back block by block, as the worker asks for it.
type claimReader struct {
	keep   *keeper
	blocks []core.Block
	tokens *iterables
	// rendered is what memRendered counts: bytes made for the bundle. They are
	// counted until it ends, since the worker may hold them till then.
	rendered int64
}

// read implements Bundle.Input.
func (in *claimReader) read(yield func([]byte, error) bool) {
	for i := range in.blocks {
		for data, err := range render(in.blocks[i:i+1], in.tokens) {
			if _, counted := in.blocks[i].Payload.(inMemory); !counted {
				in.rendered += int64(len(data))
				in.keep.count(memRendered, int64(len(data)))
			}
			if !yield(data, err) || err != nil {
				return
			}
		}
	}
}

func (in *claimReader) close() {
	in.keep.count(memRendered, -in.rendered)
	in.rendered = 0
}

// render yields the bytes of blocks. Without tokens, large groups are rendered whole.
func render(blocks []core.Block, tokens *iterables) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for i := range blocks {
			var data []byte
			var err error
			switch p := blocks[i].Payload.(type) {
			case *groupChunk:
				data = p.render(tokens)
			case *hotGroup:
				data, err = p.render(tokens)
			default:
				data, err = payloadBytes(p)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if len(data) > 0 && !yield(data, nil) {
				return
			}
		}
	}
}
