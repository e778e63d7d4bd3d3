package alone

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
)

// streams are a recorded bundle's input, and nothing for its output.
type streams struct{ b *bundle }

var errTimers = errors.New("timers are not recorded")

func (s *streams) OpenElementChan(context.Context, exec.StreamID, []string) (<-chan exec.Elements, error) {
	c := make(chan exec.Elements, len(s.b.input))
	for _, data := range s.b.input {
		c <- exec.Elements{Data: data, PtransformID: s.b.source}
	}
	close(c)
	return c, nil
}

func (*streams) OpenWrite(context.Context, exec.StreamID) (io.WriteCloser, error) {
	return discard{}, nil
}

func (*streams) OpenTimerWrite(context.Context, exec.StreamID, string) (io.WriteCloser, error) {
	return nil, errTimers
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// state is user state in a plain map, and what was read in the recorded run.
type state struct {
	// The calls that no shape makes stay nil and panic.
	exec.StateReader
	r    *Recording
	bags map[string][]byte
}

func (s *state) recorded(key *fnpb.StateKey) (io.ReadCloser, error) {
	name, err := keyName(key)
	if err != nil {
		return nil, err
	}
	var readers []io.Reader
	for _, page := range s.r.read[name] {
		readers = append(readers, bytes.NewReader(page))
	}
	return io.NopCloser(io.MultiReader(readers...)), nil
}

func (s *state) OpenIterableSideInput(_ context.Context, id exec.StreamID, local string, w []byte) (io.ReadCloser, error) {
	return s.recorded(&fnpb.StateKey{Type: &fnpb.StateKey_IterableSideInput_{IterableSideInput: &fnpb.StateKey_IterableSideInput{
		TransformId: id.PtransformID, SideInputId: local, Window: w}}})
}

func (s *state) OpenIterable(_ context.Context, _ exec.StreamID, key []byte) (io.ReadCloser, error) {
	return s.recorded(&fnpb.StateKey{Type: &fnpb.StateKey_Runner_{Runner: &fnpb.StateKey_Runner{Key: key}}})
}

// The windows of all shapes are global, and none has two states of one name.
func (s *state) OpenBagUserStateReader(_ context.Context, _ exec.StreamID, local string, key, _ []byte) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.bags[local+string(key)])), nil
}

func (s *state) OpenBagUserStateAppender(_ context.Context, _ exec.StreamID, local string, key, _ []byte) (io.Writer, error) {
	return writerFunc(func(p []byte) { s.bags[local+string(key)] = append(s.bags[local+string(key)], p...) }), nil
}

func (s *state) OpenBagUserStateClearer(_ context.Context, _ exec.StreamID, local string, key, _ []byte) (io.Writer, error) {
	return writerFunc(func([]byte) { delete(s.bags, local+string(key)) }), nil
}

func (*state) GetSideInputCache() exec.SideCache { return noCache{} }

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

type noCache struct{}

func (noCache) QueryCache(context.Context, string, string, []byte, []byte) exec.ReStream { return nil }

func (noCache) SetCache(_ context.Context, _, _ string, _, _ []byte, in exec.ReStream) exec.ReStream {
	return in
}
