package inproc

import (
	"context"
	"errors"
	"io"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
)

// stateReader answers the SDK's state calls from the bundle's State. Which key
// type stands for which call is the Fn API's rule, and the same as over gRPC
// (harness/statemgr.go), so the engine can't tell the two apart.
type stateReader struct{ r *bundleRun }

var _ exec.StateReader = stateReader{}

func (s stateReader) read(key *fnpb.StateKey) (io.ReadCloser, error) {
	return &pageReader{r: s.r, key: key}, nil
}

func (s stateReader) append(key *fnpb.StateKey) (io.Writer, error) {
	return stateAppender{r: s.r, key: key}, nil
}

func (s stateReader) clear(key *fnpb.StateKey) (io.Writer, error) {
	return stateClearer{r: s.r, key: key}, nil
}

func (s stateReader) OpenIterableSideInput(_ context.Context, id exec.StreamID, local string, w []byte) (io.ReadCloser, error) {
	return s.read(&fnpb.StateKey{Type: &fnpb.StateKey_IterableSideInput_{IterableSideInput: &fnpb.StateKey_IterableSideInput{
		TransformId: id.PtransformID, SideInputId: local, Window: w}}})
}

func (s stateReader) OpenMultiMapSideInput(_ context.Context, id exec.StreamID, local string, key, w []byte) (io.ReadCloser, error) {
	return s.read(&fnpb.StateKey{Type: &fnpb.StateKey_MultimapSideInput_{MultimapSideInput: &fnpb.StateKey_MultimapSideInput{
		TransformId: id.PtransformID, SideInputId: local, Window: w, Key: key}}})
}

func (s stateReader) OpenIterable(_ context.Context, _ exec.StreamID, key []byte) (io.ReadCloser, error) {
	return s.read(&fnpb.StateKey{Type: &fnpb.StateKey_Runner_{Runner: &fnpb.StateKey_Runner{Key: key}}})
}

func bagKey(id exec.StreamID, state string, key, w []byte) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{
		TransformId: id.PtransformID, UserStateId: state, Window: w, Key: key}}}
}

func (s stateReader) OpenBagUserStateReader(_ context.Context, id exec.StreamID, state string, key, w []byte) (io.ReadCloser, error) {
	return s.read(bagKey(id, state, key, w))
}

func (s stateReader) OpenBagUserStateAppender(_ context.Context, id exec.StreamID, state string, key, w []byte) (io.Writer, error) {
	return s.append(bagKey(id, state, key, w))
}

func (s stateReader) OpenBagUserStateClearer(_ context.Context, id exec.StreamID, state string, key, w []byte) (io.Writer, error) {
	return s.clear(bagKey(id, state, key, w))
}

func multimapKey(id exec.StreamID, state string, key, w, mapKey []byte) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_MultimapUserState_{MultimapUserState: &fnpb.StateKey_MultimapUserState{
		TransformId: id.PtransformID, UserStateId: state, Window: w, Key: key, MapKey: mapKey}}}
}

func (s stateReader) OpenMultimapUserStateReader(_ context.Context, id exec.StreamID, state string, key, w, mapKey []byte) (io.ReadCloser, error) {
	return s.read(multimapKey(id, state, key, w, mapKey))
}

func (s stateReader) OpenMultimapUserStateAppender(_ context.Context, id exec.StreamID, state string, key, w, mapKey []byte) (io.Writer, error) {
	return s.append(multimapKey(id, state, key, w, mapKey))
}

func (s stateReader) OpenMultimapUserStateClearer(_ context.Context, id exec.StreamID, state string, key, w, mapKey []byte) (io.Writer, error) {
	return s.clear(multimapKey(id, state, key, w, mapKey))
}

func multimapKeysKey(id exec.StreamID, state string, key, w []byte) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_MultimapKeysUserState_{MultimapKeysUserState: &fnpb.StateKey_MultimapKeysUserState{
		TransformId: id.PtransformID, UserStateId: state, Window: w, Key: key}}}
}

func (s stateReader) OpenMultimapKeysUserStateReader(_ context.Context, id exec.StreamID, state string, key, w []byte) (io.ReadCloser, error) {
	return s.read(multimapKeysKey(id, state, key, w))
}

func (s stateReader) OpenMultimapKeysUserStateClearer(_ context.Context, id exec.StreamID, state string, key, w []byte) (io.Writer, error) {
	return s.clear(multimapKeysKey(id, state, key, w))
}

func orderedListKey(id exec.StreamID, state string, key, w []byte, rng *fnpb.OrderedListRange) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_OrderedListUserState_{OrderedListUserState: &fnpb.StateKey_OrderedListUserState{
		TransformId: id.PtransformID, UserStateId: state, Window: w, Key: key, Range: rng}}}
}

func (s stateReader) OpenOrderedListUserStateReader(_ context.Context, id exec.StreamID, state string, key, w []byte, start, end int64) (io.ReadCloser, error) {
	return s.read(orderedListKey(id, state, key, w, &fnpb.OrderedListRange{Start: start, End: end}))
}

func (s stateReader) OpenOrderedListUserStateAppender(_ context.Context, id exec.StreamID, state string, key, w []byte) (io.Writer, error) {
	return s.append(orderedListKey(id, state, key, w, nil))
}

func (s stateReader) OpenOrderedListUserStateClearer(_ context.Context, id exec.StreamID, state string, key, w []byte, start, end int64) (io.Writer, error) {
	return s.clear(orderedListKey(id, state, key, w, &fnpb.OrderedListRange{Start: start, End: end}))
}

// GetSideInputCache returns a cache that keeps nothing. The SDK calls its methods
// without a check, so nil won't do. It keeps nothing because the SDK's cache
// hands the same decoded values to every element, and its own is off by default:
// a DoFn that changes a value it has read would behave otherwise than over gRPC.
func (s stateReader) GetSideInputCache() exec.SideCache { return noCache{} }

type noCache struct{}

func (noCache) QueryCache(context.Context, string, string, []byte, []byte) exec.ReStream { return nil }

func (noCache) SetCache(_ context.Context, _, _ string, _, _ []byte, in exec.ReStream) exec.ReStream {
	return in
}

// pageReader reads a key's data page by page, each when it is needed: a hot
// key's values need not be in memory at once. It is for one goroutine.
type pageReader struct {
	r    *bundleRun
	key  *fnpb.StateKey
	page []byte
	next []byte
	// begun says that the first page was asked for, so no token means the end.
	begun, closed bool
}

func (p *pageReader) Read(buf []byte) (int, error) {
	if len(buf) == 0 {
		return 0, nil
	}
	for len(p.page) == 0 {
		if p.closed {
			return 0, errors.New("read of a closed state reader")
		}
		if p.begun && len(p.next) == 0 {
			return 0, io.EOF
		}
		if !p.r.gate.enter() {
			return 0, errOver
		}
		data, next, err := p.r.b.State.Get(p.r.ctx, p.key, p.next)
		p.r.gate.leave()
		if err != nil {
			return 0, err
		}
		p.begun, p.page, p.next = true, data, next
	}
	n := copy(buf, p.page)
	p.page = p.page[n:]
	return n, nil
}

func (p *pageReader) Close() error {
	p.closed, p.page = true, nil
	return nil
}

// stateAppender makes one append request of each Write, as the SDK's harness does.
type stateAppender struct {
	r   *bundleRun
	key *fnpb.StateKey
}

func (a stateAppender) Write(p []byte) (int, error) {
	if !a.r.gate.enter() {
		return 0, errOver
	}
	defer a.r.gate.leave()
	if err := a.r.b.State.Append(a.r.ctx, a.key, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// stateClearer clears its key at each Write, whatever is written.
type stateClearer struct {
	r   *bundleRun
	key *fnpb.StateKey
}

func (c stateClearer) Write(p []byte) (int, error) {
	if !c.r.gate.enter() {
		return 0, errOver
	}
	defer c.r.gate.leave()
	if err := c.r.b.State.Clear(c.r.ctx, c.key); err != nil {
		return 0, err
	}
	return len(p), nil
}
