package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/statebackend"
)

// bundleState answers one bundle's state requests: side inputs by lookup, user
// state from the staged layer down. Errors go to the SDK, never up.
type bundleState struct {
	stage *stageRun
	shard *shardState
	store func() (statebackend.Reader, error)
	// iterables are the large groups in the bundle's input.
	iterables *iterables

	mu struct {
		sync.Mutex
		// staged is what the bundle has changed so far. It is dropped if the bundle fails.
		staged *layer
		// long keeps the rest of a read that needs more than one page, by token, so
		// that all its pages are of one moment.
		long map[string][]byte
		next uint64
		// read reads what the bundle sees; nil before its first read.
		read *reader
		// The cell that was asked for last, and what made its key: SDKs read, clear and
		// append one after the other. absent says that it is a value that was looked for and
		// that is nowhere.
		last         address
		window, user []byte
		absent       bool
		ahead        ahead
	}
}

func newBundleState(st *stageRun, shard *shardState, store func() (statebackend.Reader, error)) *bundleState {
	b := &bundleState{stage: st, shard: shard, store: store, iterables: &iterables{}}
	b.mu.staged = newLayer(0)
	if shard != nil {
		b.mu.staged.expect = shard.expect
	}
	return b
}

// staged returns what the bundle has changed; the bundle is over.
func (b *bundleState) staged() *layer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.staged
}

var errUnknownKey = errors.New("state key of a kind this runner does not know")

// Get implements State.
func (b *bundleState) Get(ctx context.Context, key *fnpb.StateKey, token []byte) (data, next []byte, err error) {
	switch k := key.GetType().(type) {
	case *fnpb.StateKey_Runner_:
		return b.iterables.page(k.Runner.GetKey(), token)
	case *fnpb.StateKey_IterableSideInput_:
		s, err := b.side(k.IterableSideInput.GetTransformId(), k.IterableSideInput.GetSideInputId())
		if err != nil {
			return nil, nil, err
		}
		return s.lookup(ctx, k.IterableSideInput.GetWindow(), token)
	case *fnpb.StateKey_MultimapSideInput_:
		s, err := b.side(k.MultimapSideInput.GetTransformId(), k.MultimapSideInput.GetSideInputId())
		if err != nil {
			return nil, nil, err
		}
		return s.lookupKey(ctx, k.MultimapSideInput.GetWindow(), k.MultimapSideInput.GetKey(), token)
	case *fnpb.StateKey_MultimapKeysSideInput_:
		s, err := b.side(k.MultimapKeysSideInput.GetTransformId(), k.MultimapKeysSideInput.GetSideInputId())
		if err != nil {
			return nil, nil, err
		}
		return s.lookupKeys(ctx, k.MultimapKeysSideInput.GetWindow(), token)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.parse(key)
	if err != nil {
		return nil, nil, err
	}
	if len(token) > 0 {
		rest, ok := b.mu.long[string(token)]
		if !ok {
			return nil, nil, fmt.Errorf("continuation token %x is not one we gave", token)
		}
		delete(b.mu.long, string(token))
		return b.page(rest)
	}
	var r *reader
	if c.kind != recordValue {
		r = b.reader()
	}
	switch c.kind {
	case recordValue:
		data, err = b.value(c)
		b.mu.absent = err == nil && len(data) == 0
	case recordMultimap:
		switch {
		case c.entries:
			data, err = b.mapEntries(r, c)
		case c.allKeys:
			data, err = r.mapKeys(nil, c.cell)
		default:
			data, err = r.mapValue(nil, c.cell, c.mapKey)
		}
	case recordList:
		data, err = r.list(nil, c.cell, c.sort)
	default:
		data, err = r.bag(c.cell)
	}
	if err != nil {
		return nil, nil, err
	}
	return b.page(data)
}

// reader reads what the bundle sees now. b.mu is held.
func (b *bundleState) reader() *reader {
	if b.mu.read == nil || b.mu.read.views != b.shard.views.Load() {
		r := b.shard.reader(b.store, b.mu.staged)
		b.mu.read = &r
	}
	return b.mu.read
}

// page cuts the first page off data and keeps the rest. b.mu is held.
func (b *bundleState) page(data []byte) (page, next []byte, err error) {
	if len(data) <= pageBytes {
		return data, nil, nil
	}
	b.mu.next++
	next = binary.AppendUvarint(nil, b.mu.next)
	if b.mu.long == nil {
		b.mu.long = make(map[string][]byte)
	}
	b.mu.long[string(next)] = data[pageBytes:]
	return data[:pageBytes:pageBytes], next, nil
}

// Append implements State.
func (b *bundleState) Append(_ context.Context, key *fnpb.StateKey, data []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.parse(key)
	if err != nil {
		return err
	}
	var entries []listEntry
	switch c.kind {
	case recordValue:
		return b.appendValue(c.cell, data)
	case recordList:
		if entries, err = b.stage.splitList(c.transform, c.id, data); err != nil {
			return err
		}
	}
	at := b.mu.staged.cell(c.cell)
	switch c.kind {
	case recordMultimap:
		if c.allKeys {
			return errors.New("a multimap's keys can't be appended to")
		}
		s := at.subcell(c.mapKey)
		s.bag = append(s.bag, data...)
	case recordList:
		for _, e := range entries {
			at.insert(e)
		}
	default:
		at.bag = append(at.bag, data...)
	}
	b.mu.staged.bytes += int64(len(data))
	return nil
}

// Clear implements State.
func (b *bundleState) Clear(_ context.Context, key *fnpb.StateKey) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.parse(key)
	if err != nil {
		return err
	}
	if c.kind == recordValue {
		b.mu.staged.clearValue(c.cell, b.mu.absent)
		return nil
	}
	at := b.mu.staged.cell(c.cell)
	switch {
	case c.kind == recordMultimap && !c.allKeys:
		at.subcell(c.mapKey).clear()
	case c.kind == recordList && !c.sort.all():
		at.clearRange(c.sort)
	default:
		at.clear()
	}
	return nil
}

// address is a parsed key of user state.
type address struct {
	cell          string
	kind          byte
	transform, id string
	mapKey        []byte
	// allKeys stands for the whole multimap; entries says that its values are asked for, too.
	allKeys, entries bool
	sort             sortRange
	// number is a value's, see declaredState.
	number int
}

// parse finds the cell that a key stands for. b.mu is held.
func (b *bundleState) parse(key *fnpb.StateKey) (address, error) {
	var a address
	var window, userKey []byte
	switch k := key.GetType().(type) {
	case *fnpb.StateKey_BagUserState_:
		u := k.BagUserState
		a = address{kind: recordBag, transform: u.GetTransformId(), id: u.GetUserStateId()}
		window, userKey = u.GetWindow(), u.GetKey()
	case *fnpb.StateKey_MultimapUserState_:
		u := k.MultimapUserState
		a = address{kind: recordMultimap, transform: u.GetTransformId(), id: u.GetUserStateId(), mapKey: u.GetMapKey()}
		window, userKey = u.GetWindow(), u.GetKey()
	case *fnpb.StateKey_MultimapKeysUserState_:
		u := k.MultimapKeysUserState
		a = address{kind: recordMultimap, transform: u.GetTransformId(), id: u.GetUserStateId(), allKeys: true}
		window, userKey = u.GetWindow(), u.GetKey()
	case *fnpb.StateKey_OrderedListUserState_:
		u := k.OrderedListUserState
		a = address{kind: recordList, transform: u.GetTransformId(), id: u.GetUserStateId(), sort: everySort}
		if r := u.GetRange(); r != nil {
			a.sort = sortRange{r.GetStart(), r.GetEnd()}
		}
		window, userKey = u.GetWindow(), u.GetKey()
	default:
		u := multimapEntries(key)
		if u == nil {
			return a, fmt.Errorf("%w: %v", errUnknownKey, key)
		}
		a = address{kind: recordMultimap, transform: u.GetTransformId(), id: u.GetUserStateId(), allKeys: true, entries: true}
		window, userKey = u.GetWindow(), u.GetKey()
	}
	if l := &b.mu.last; l.cell != "" && l.id == a.id && l.transform == a.transform && bytes.Equal(b.mu.user, userKey) && bytes.Equal(b.mu.window, window) {
		if l.kind == a.kind || l.kind == recordValue && a.kind == recordBag {
			a.cell, a.kind, a.number = l.cell, l.kind, l.number
			return a, nil
		}
	}
	if b.shard == nil {
		return a, fmt.Errorf("transform %s asks for user state, but its stage has none declared", a.transform)
	}
	declared, ok := b.stage.states[sideID{a.transform, a.id}]
	if !ok {
		return a, fmt.Errorf("transform %s has no state %q", a.transform, a.id)
	}
	if declared.whole {
		if a.kind != recordBag {
			return a, fmt.Errorf("state %q of transform %s is a value", a.id, a.transform)
		}
		a.kind, a.number = recordValue, declared.number
	}
	group := keyGroup(keyHash(userKey))
	var buf [128]byte
	a.cell = b.mu.ahead.find(cellKey(buf[:0], group, b.stage.slots.state, window, userKey, a.id))
	b.mu.last, b.mu.absent = a, false
	b.mu.user, b.mu.window = append(b.mu.user[:0], userKey...), append(b.mu.window[:0], window...)
	return a, nil
}

func (b *bundleState) side(transform, id string) (*sideInput, error) {
	s := b.stage.sides[sideID{transform, id}]
	if s == nil {
		return nil, fmt.Errorf("transform %s has no side input %q", transform, id)
	}
	return s, nil
}

type sideID struct{ transform, local string }

// all says that the range is the whole list, as SDKs write it.
func (r sortRange) all() bool { return r.from <= everySort.from && r.to >= everySort.to }

var everySort = sortRange{-1 << 63, 1<<63 - 1}

// splitList cuts appended bytes of an ordered list into its entries: the sort key
// as a varint, then the value. Values are of one coder, known from the state's spec.
func splitList(value *coders.Scanner, data []byte) ([]listEntry, error) {
	var out []listEntry
	for len(data) > 0 {
		k, n, err := coders.ReadVarint(data)
		if err != nil {
			return nil, fmt.Errorf("ordered list entry: sort key: %w", err)
		}
		m, err := value.Skip(data[n:])
		if err != nil {
			return nil, fmt.Errorf("ordered list entry: value: %w", err)
		}
		out = append(out, listEntry{sort: k, data: bytes.Clone(data[:n+m])})
		data = data[n+m:]
	}
	return out, nil
}
