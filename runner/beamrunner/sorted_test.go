package beamrunner

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/teststream"
	"google.golang.org/protobuf/proto"
)

func init() {
	beam.RegisterDoFn(&inOrder{})
	register.Function2x2(timed)
}

// timed gives an element the timestamp that it names.
func timed(_ beam.EventTime, v int64) (beam.EventTime, int64) { return beam.EventTime(v), v }

// inOrder notes what it gets, in the order in which it does.
type inOrder struct {
	Count state.Value[int64]
}

var order struct {
	mu   sync.Mutex
	got  []int64
	seen int64
}

func (f *inOrder) ProcessElement(ts beam.EventTime, sp state.Provider, _ string, v int64) error {
	n, _, err := f.Count.Read(sp)
	if err != nil {
		return err
	}
	order.mu.Lock()
	defer order.mu.Unlock()
	order.got = append(order.got, v)
	order.seen = max(order.seen, n+1)
	if int64(ts) != v {
		return fmt.Errorf("element %d has timestamp %d", v, ts)
	}
	return f.Count.Write(sp, n+1)
}

// sortTimes asks for time-sorted input in all stateful DoFns: the Go SDK has no word for it.
func sortTimes(t *testing.T, p *pipepb.Pipeline) {
	t.Helper()
	p.Requirements = append(p.Requirements, "beam:requirement:pardo:time_sorted_input:v1")
	for _, tr := range p.GetComponents().GetTransforms() {
		if tr.GetSpec().GetUrn() != "beam:transform:pardo:v1" {
			continue
		}
		var payload pipepb.ParDoPayload
		if err := proto.Unmarshal(tr.GetSpec().GetPayload(), &payload); err != nil {
			t.Fatal(err)
		}
		if len(payload.GetStateSpecs()) == 0 {
			continue
		}
		payload.RequiresTimeSortedInput = true
		var err error
		if tr.Spec.Payload, err = proto.Marshal(&payload); err != nil {
			t.Fatal(err)
		}
	}
}

func runSorted(t *testing.T, p *beam.Pipeline) []int64 {
	t.Helper()
	j, err := newJob(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	sortTimes(t, j.pipeline)
	order.got, order.seen = nil, 0
	if _, err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return order.got
}

// TestTimeSortedInput: elements that come in the wrong order are handed on in the right
// one, with state and all, be it that the input ends or that a watermark moves.
func TestTimeSortedInput(t *testing.T) {
	const n = 1000
	var want []int64
	for i := range int64(n) {
		want = append(want, i+1)
	}
	newInOrder := func() *inOrder { return &inOrder{Count: state.MakeValueState[int64]("count")} }
	t.Run("bounded", func(t *testing.T) {
		p, s := beam.NewPipelineWithRoot()
		var down []any
		for i := range n {
			down = append(down, int64(n-i))
		}
		in := beam.ParDo(s, timed, beam.Create(s, down...))
		beam.ParDo0(s, newInOrder(), beam.ParDo(s, keyed, in))
		if got := runSorted(t, p); !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
		if order.seen != n {
			t.Errorf("state counted %d elements, want %d", order.seen, n)
		}
	})
	stream := func(lateness time.Duration) []int64 {
		con := teststream.NewConfig()
		for i := int64(n); i > 0; i-- {
			con.AddElements(i, i)
			if i == 100 {
				con.AdvanceWatermark(i)
			}
		}
		con.AdvanceWatermarkToInfinity()
		p, s := beam.NewPipelineWithRoot()
		in := beam.WindowInto(s, window.NewGlobalWindows(), teststream.Create(s, con), beam.AllowedLateness(lateness))
		beam.ParDo0(s, newInOrder(), beam.ParDo(s, keyed, in))
		return runSorted(t, p)
	}
	t.Run("late", func(t *testing.T) {
		if got := stream(5 * time.Second); !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("too late", func(t *testing.T) {
		if got := stream(0); !slices.Equal(got, want[99:]) {
			t.Errorf("got %v", got)
		}
	})
}
