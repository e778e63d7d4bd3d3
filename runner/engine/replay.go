package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/capsule"
	"google.golang.org/protobuf/proto"
)

// Replay runs the bundle of a capsule again, on a worker of its environment, and writes to out
// what comes of it: for each sink the elements, and at last how it has ended. What the bundle asks of
// state is answered from the capsule. It returns the bundle's error.
func Replay(ctx context.Context, w Worker, c *capsule.Capsule, out io.Writer) error {
	var families []TimerFamily
	for _, f := range c.Families {
		families = append(families, TimerFamily(f))
	}
	sinks := &replaySinks{data: make(map[string][]byte)}
	state := newReplayState(c.State)
	_, err := w.Run(ctx, &Bundle{
		ID: "replay", Stage: c.Stage, Descriptor: c.Descriptor, Source: c.Source, Elements: c.Elements,
		Input: func(yield func([]byte, error) bool) {
			if len(c.Input) > 0 {
				yield(c.Input, nil)
			}
		},
		Timers: timersOf(c), TimerFamilies: families,
		Output: sinks.take, TimerOutput: sinks.timers, State: state,
	})
	sinks.print(out, c.Descriptor)
	fmt.Fprintf(out, "state: %d reads, %d writes; timers: %d bytes set\n", state.reads, state.writes, sinks.set)
	if err != nil {
		fmt.Fprintf(out, "the bundle fails: %v\n", err)
		return fmt.Errorf("the bundle of stage %s fails: %w", c.Stage, err)
	}
	fmt.Fprintln(out, "the bundle ends well")
	return nil
}

func timersOf(c *capsule.Capsule) iter.Seq2[TimerChunk, error] {
	if len(c.Timers) == 0 {
		return nil
	}
	return func(yield func(TimerChunk, error) bool) {
		for _, t := range c.Timers {
			if !yield(TimerChunk{TimerFamily: TimerFamily(t.Family), Data: t.Data}, nil) {
				return
			}
		}
	}
}

// replaySinks gathers what a bundle writes.
type replaySinks struct {
	dataMu sync.Mutex
	data   map[string][]byte
	set    int // bytes of timers
}

func (s *replaySinks) take(sink string, data []byte) error {
	s.dataMu.Lock()
	defer s.dataMu.Unlock()
	s.data[sink] = append(s.data[sink], data...)
	return nil
}

func (s *replaySinks) timers(_, _ string, data []byte) error {
	s.dataMu.Lock()
	defer s.dataMu.Unlock()
	s.set += len(data)
	return nil
}

// print writes the elements of each sink, one a line, as far as people want to read.
func (s *replaySinks) print(out io.Writer, desc *fnpb.ProcessBundleDescriptor) {
	const most = 100
	s.dataMu.Lock()
	defer s.dataMu.Unlock()
	var names []string
	for name := range s.data {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		data := s.data[name]
		fmt.Fprintf(out, "output %s: %d bytes\n", name, len(data))
		scan, err := sinkScanner(desc, name)
		if err != nil {
			fmt.Fprintf(out, "  %s\n", beginning(data))
			continue
		}
		var e coders.Element
		for n := 0; len(data) > 0; n++ {
			size, err := scan.Next(data, &e)
			if err != nil || n == most {
				fmt.Fprintf(out, "  ... %d bytes more\n", len(data))
				break
			}
			fmt.Fprintf(out, "  %s\n", describeElement(&e))
			data = data[size:]
		}
	}
}

// sinkScanner scans what is written to a sink of a descriptor.
func sinkScanner(desc *fnpb.ProcessBundleDescriptor, sink string) (*coders.Windowed, error) {
	var port fnpb.RemoteGrpcPort
	if err := proto.Unmarshal(desc.GetTransforms()[sink].GetSpec().GetPayload(), &port); err != nil {
		return nil, err
	}
	return coders.CompileWindowed(desc.GetCoders(), port.GetCoderId())
}

// replayState answers state requests from a capsule: each as it was answered, the first
// time, the second and so on. Who asks more often than the bundle did gets the last answer once
// more. Writes change nothing.
type replayState struct {
	answersMu     sync.Mutex
	answers       map[string][]capsule.Answer
	reads, writes int
}

var errNotRecorded = errors.New("the bundle asks for state that it did not ask for when it failed, so the capsule has no answer")

func newReplayState(recorded []capsule.Answer) *replayState {
	s := &replayState{answers: make(map[string][]capsule.Answer)}
	for _, a := range recorded {
		k := requestID(a.Key, a.Token)
		s.answers[k] = append(s.answers[k], a)
	}
	return s
}

func requestID(key *fnpb.StateKey, token []byte) string {
	// It was unmarshalled or made of plain fields: it can be marshalled.
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(key)
	return string(appendPart(nil, string(b))) + string(token)
}

// Get implements State.
func (s *replayState) Get(_ context.Context, key *fnpb.StateKey, token []byte) (data, next []byte, err error) {
	s.answersMu.Lock()
	defer s.answersMu.Unlock()
	s.reads++
	k := requestID(key, token)
	list := s.answers[k]
	if len(list) == 0 {
		return nil, nil, fmt.Errorf("%w: %v", errNotRecorded, key)
	}
	a := list[0]
	if len(list) > 1 {
		s.answers[k] = list[1:]
	}
	if a.Err != "" {
		return nil, nil, errors.New(a.Err)
	}
	return a.Data, a.Next, nil
}

// Append implements State.
func (s *replayState) Append(context.Context, *fnpb.StateKey, []byte) error { return s.wrote() }

// Clear implements State.
func (s *replayState) Clear(context.Context, *fnpb.StateKey) error { return s.wrote() }

func (s *replayState) wrote() error {
	s.answersMu.Lock()
	defer s.answersMu.Unlock()
	s.writes++
	return nil
}
