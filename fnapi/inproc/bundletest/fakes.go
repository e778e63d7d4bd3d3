package bundletest

import (
	"context"
	"encoding/hex"
	"fmt"
	"iter"
	"sort"
	"strings"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"github.com/summerbeam/summerbeam/runner/engine"
)

// State is an engine.State in memory which hands data out in small pages and
// writes down what it was asked.
type State struct {
	// Page is the page size in bytes, 0 for one page.
	Page int
	// Fail is returned by everything when set.
	Fail error

	mu sync.Mutex
	// guarded by mu
	data  map[string][]byte
	calls []string
	over  bool
	late  int
}

// Late is the number of calls since Over.
func (s *State) Late() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.late
}

func (s *State) note(call string) error {
	s.calls = append(s.calls, call)
	if s.over {
		s.late++
	}
	return s.Fail
}

// Name is a state key for people.
func Name(k *fnpb.StateKey) string {
	h := hex.EncodeToString
	switch t := k.GetType().(type) {
	case *fnpb.StateKey_Runner_:
		return "runner " + string(t.Runner.GetKey())
	case *fnpb.StateKey_IterableSideInput_:
		return "iterable " + t.IterableSideInput.GetSideInputId() + " w=" + h(t.IterableSideInput.GetWindow())
	case *fnpb.StateKey_MultimapSideInput_:
		x := t.MultimapSideInput
		return "multimap " + x.GetSideInputId() + " w=" + h(x.GetWindow()) + " k=" + h(x.GetKey())
	case *fnpb.StateKey_BagUserState_:
		x := t.BagUserState
		return "bag " + x.GetUserStateId() + " w=" + h(x.GetWindow()) + " k=" + h(x.GetKey())
	case *fnpb.StateKey_MultimapUserState_:
		x := t.MultimapUserState
		return "map " + x.GetUserStateId() + " w=" + h(x.GetWindow()) + " k=" + h(x.GetKey()) + " mk=" + h(x.GetMapKey())
	case *fnpb.StateKey_MultimapKeysUserState_:
		x := t.MultimapKeysUserState
		return "mapkeys " + x.GetUserStateId() + " w=" + h(x.GetWindow()) + " k=" + h(x.GetKey())
	case *fnpb.StateKey_OrderedListUserState_:
		x := t.OrderedListUserState
		r := ""
		if x.GetRange() != nil {
			r = fmt.Sprintf(" [%d,%d)", x.GetRange().GetStart(), x.GetRange().GetEnd())
		}
		return "list " + x.GetUserStateId() + " w=" + h(x.GetWindow()) + " k=" + h(x.GetKey()) + r
	}
	return fmt.Sprintf("%T", k.GetType())
}

// Set puts data under a key's name.
func (s *State) Set(name string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data == nil {
		s.data = map[string][]byte{}
	}
	s.data[name] = data
}

// Calls returns what was asked so far.
func (s *State) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.calls...)
}

// Over begins the counting of late calls.
func (s *State) Over() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// Get implements engine.State.
func (s *State) Get(_ context.Context, k *fnpb.StateKey, token []byte) ([]byte, []byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := Name(k)
	if err := s.note("get " + name + " " + string(token)); err != nil {
		return nil, nil, err
	}
	data := s.data[name]
	at := 0
	if len(token) > 0 {
		fmt.Sscan(string(token), &at)
	}
	data = data[at:]
	if s.Page == 0 || len(data) <= s.Page {
		return data, nil, nil
	}
	return data[:s.Page], fmt.Append(nil, at+s.Page), nil
}

// Append implements engine.State.
func (s *State) Append(_ context.Context, k *fnpb.StateKey, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := Name(k)
	if err := s.note("append " + name + " " + hex.EncodeToString(data)); err != nil {
		return err
	}
	if s.data == nil {
		s.data = map[string][]byte{}
	}
	s.data[name] = append(s.data[name], data...)
	return nil
}

// Clear implements engine.State.
func (s *State) Clear(_ context.Context, k *fnpb.StateKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := Name(k)
	if err := s.note("clear " + name); err != nil {
		return err
	}
	delete(s.data, name)
	return nil
}

// Output gathers a bundle's output.
type Output struct {
	// Fail is returned by every call when set.
	Fail error

	mu sync.Mutex
	// guarded by mu
	data   map[string][]byte
	chunks [][]byte
	timers map[engine.TimerFamily][]byte
	over   bool
	late   int
}

// Late is the number of calls since Over.
func (o *Output) Late() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.late
}

// Data implements engine.Bundle.Output.
func (o *Output) Data(sink string, data []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		o.late++
	}
	if o.data == nil {
		o.data = map[string][]byte{}
	}
	o.data[sink] = append(o.data[sink], data...)
	o.chunks = append(o.chunks, data)
	return o.Fail
}

// Timers implements engine.Bundle.TimerOutput.
func (o *Output) Timers(transform, family string, data []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		o.late++
	}
	if o.timers == nil {
		o.timers = map[engine.TimerFamily][]byte{}
	}
	f := engine.TimerFamily{Transform: transform, Family: family}
	o.timers[f] = append(o.timers[f], data...)
	return o.Fail
}

// Over begins the counting of late calls.
func (o *Output) Over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
}

// Of returns what a sink has got.
func (o *Output) Of(sink string) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data[sink]
}

// Chunks returns the chunks of all sinks.
func (o *Output) Chunks() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([][]byte(nil), o.chunks...)
}

// Families names the timer families that were written.
func (o *Output) Families() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for f := range o.timers {
		out = append(out, f.Family)
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

// Timer returns what was written of a family.
func (o *Output) Timer(f engine.TimerFamily) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.timers[f]
}

// Chunks is an input of ready chunks.
func Chunks(chunks ...[]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, c := range chunks {
			if !yield(c, nil) {
				return
			}
		}
	}
}
