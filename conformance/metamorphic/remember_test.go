package metamorphic

import (
	"fmt"
	"slices"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.DoFn7x1[beam.Window, beam.EventTime, state.Provider, timers.Provider, string, int64, func(string, int64), error](&remember{})
	register.Function2x1(add)
}

func add(a, b int64) int64 { return a + b }

// remember is a stateful DoFn of the Go SDK that does what is drawn.
type remember struct {
	Run   int64
	Draws stateful

	Bag   state.Bag[int64]
	Value state.Value[int64]
	Sum   state.Combining[int64, int64, int64]
	Map   state.Map[int64, int64]
	Set   state.Set[int64]
	List  state.OrderedList[int64]
	Count state.Value[int64]

	Event timers.EventTime
	Clock timers.ProcessingTime
}

func newRemember(run int64, s *stateful) *remember {
	return &remember{
		Run: run, Draws: *s,
		Bag:   state.MakeBagState[int64]("bag"),
		Value: state.MakeValueState[int64]("value"),
		Sum:   state.MakeCombiningState[int64, int64, int64]("sum", add),
		Map:   state.MakeMapState[int64, int64]("map"),
		Set:   state.MakeSetState[int64]("set"),
		List:  state.MakeOrderedListState[int64]("list"),
		Count: state.MakeValueState[int64]("count"),
		Event: timers.InEventTime("event"),
		Clock: timers.InProcessingTime("clock"),
	}
}

func (f *remember) ProcessElement(w beam.Window, at beam.EventTime, sp state.Provider, tp timers.Provider, key string, v int64, emit func(string, int64)) error {
	text, err := f.Draws.element(v, at.Milliseconds(), windowOf(w), &touching{f, sp, tp, key, emit})
	if err != nil {
		return err
	}
	runs.of(f.Run).note(note{key, windowOf(w), text})
	return nil
}

func (f *remember) OnTimer(w beam.Window, at beam.EventTime, sp state.Provider, tp timers.Provider, key string, t timers.Context, emit func(string, int64)) error {
	var tag int
	if _, err := fmt.Sscan(t.Tag, &tag); err != nil {
		return err
	}
	text, err := f.Draws.timer(tag, at.Milliseconds(), windowOf(w), &touching{f, sp, tp, key, emit})
	if err != nil {
		return err
	}
	runs.of(f.Run).note(note{key, windowOf(w), text})
	return nil
}

// touching is the memory of one call.
type touching struct {
	*remember
	sp  state.Provider
	tp  timers.Provider
	key string
	out func(string, int64)
}

func (t *touching) emit(v int64) { t.out(t.key, v) }

func (t *touching) set(tag int, clock bool, fire, hold int64, free bool) {
	output := timers.WithOutputTimestamp(time.UnixMilli(hold))
	if free {
		output = timers.WithNoOutputTimestamp()
	}
	if clock {
		t.Clock.Set(t.tp, time.UnixMilli(fire), timers.WithTag(fmt.Sprint(tag)), output)
		return
	}
	t.Event.Set(t.tp, time.UnixMilli(fire), timers.WithTag(fmt.Sprint(tag)), output)
}

func (t *touching) clear(tag int, clock bool) {
	if clock {
		t.Clock.ClearTag(t.tp, fmt.Sprint(tag))
		return
	}
	t.Event.ClearTag(t.tp, fmt.Sprint(tag))
}

func (t *touching) do(action string, v int64) (got []int64, err error) {
	one := func(v int64, ok bool, err error) ([]int64, error) {
		if !ok || err != nil {
			return nil, err
		}
		return []int64{v}, nil
	}
	switch action {
	case "bag add":
		return nil, t.Bag.Add(t.sp, v)
	case "bag read":
		got, _, err = t.Bag.Read(t.sp)
		slices.Sort(got)
		return got, err
	case "bag clear":
		return nil, t.Bag.Clear(t.sp)
	case "value write":
		return nil, t.Value.Write(t.sp, v)
	case "value read":
		return one(t.Value.Read(t.sp))
	case "value clear":
		return nil, t.Value.Clear(t.sp)
	case "sum add":
		return nil, t.Sum.Add(t.sp, v)
	case "sum read":
		sum, _, err := t.Sum.Read(t.sp)
		return []int64{sum}, err
	case "sum clear":
		return nil, t.Sum.Clear(t.sp)
	case "map put":
		return nil, t.Map.Put(t.sp, v%3, v)
	case "map get":
		return one(t.Map.Get(t.sp, v%3))
	case "map remove":
		return nil, t.Map.Remove(t.sp, v%3)
	case "map keys":
		got, _, err = t.Map.Keys(t.sp)
		slices.Sort(got)
		return got, err
	case "map clear":
		return nil, t.Map.Clear(t.sp)
	case "set add":
		return nil, t.Set.Add(t.sp, v%4)
	case "set has":
		has, err := t.Set.Contains(t.sp, v%4)
		return one(v%4, has, err)
	case "set remove":
		return nil, t.Set.Remove(t.sp, v%4)
	case "set keys":
		got, _, err = t.Set.Keys(t.sp)
		slices.Sort(got)
		return got, err
	case "set clear":
		return nil, t.Set.Clear(t.sp)
	case "list add":
		return nil, t.List.Add(t.sp, v%5, v)
	case "list read":
		return values(t.List.Read(t.sp))
	case "list range":
		return values(t.List.ReadRange(t.sp, 1, 3))
	case "list clear range":
		return nil, t.List.ClearRange(t.sp, 1, 3)
	case "list clear":
		return nil, t.List.Clear(t.sp)
	case "count":
		n, _, err := t.Count.Read(t.sp)
		if err != nil {
			return nil, err
		}
		return []int64{n}, t.Count.Write(t.sp, n+1)
	}
	return nil, fmt.Errorf("no action %q", action)
}

// values are those of a list, in its order.
func values(entries []state.OrderedListValue[int64], _ bool, err error) (got []int64, _ error) {
	for _, e := range entries {
		got = append(got, e.Value)
	}
	return got, err
}
