package bundletest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	beam.RegisterDoFn(&behave{})
	register.DoFn2x2[[]byte, []byte, []byte, []byte](&identity{})
	beam.RegisterDoFn(&counting{})
	beam.RegisterDoFn(&finalizing{})
	beam.RegisterDoFn(&listing{})
	beam.RegisterDoFn(&looking{})
	beam.RegisterDoFn(&stateful{})
	// RegisterDoFn would look at its timers, which have no names yet.
	register.DoFn4x0[state.Provider, timers.Provider, string, string](&timed{})
	beam.RegisterDoFn(&ranging{})
	beam.RegisterDoFn(&source{})
	beam.RegisterDoFn(&emitting{})
	beam.RegisterDoFn(&kvSource{})
	beam.RegisterDoFn(&stringSource{})
	beam.RegisterDoFn(&stringKVSource{})
	register.Emitter1[[]byte]()
	register.Emitter1[string]()
	register.Emitter1[int64]()
	register.Emitter2[[]byte, []byte]()
	register.Emitter2[string, string]()
	register.Iter1[string]()
}

// The sources give collections their types; they never run.
type (
	source         struct{}
	kvSource       struct{}
	stringSource   struct{}
	stringKVSource struct{}
)

func (*source) ProcessElement(_ []byte, _ func([]byte))                 {}
func (*kvSource) ProcessElement(_ []byte, _ func([]byte, []byte))       {}
func (*stringSource) ProcessElement(_ []byte, _ func(string))           {}
func (*stringKVSource) ProcessElement(_ []byte, _ func(string, string)) {}

// Hooks are what scripts give to the DoFns, by name. DoFns of a worker in another
// process don't see them.
var Hooks sync.Map

// behave does what its element says.
type behave struct{}

func (*behave) ProcessElement(ctx context.Context, el []byte) error {
	switch s := string(el); s {
	case "fail":
		return errors.New("user code says no")
	case "panic":
		panic("user code panics")
	case "goexit":
		runtime.Goexit()
	case "ctx":
		if f, ok := Hooks.Load("entered"); ok {
			f.(func())()
		}
		<-ctx.Done()
	case "hang":
		if f, ok := Hooks.Load("entered"); ok {
			f.(func())()
		}
		if f, ok := Hooks.Load("hang"); ok {
			f.(func())()
		}
	}
	return nil
}

// Teardown tells that its plan was taken down.
func (*behave) Teardown() {
	if f, ok := Hooks.Load("teardown"); ok {
		f.(func())()
	}
}

// emitting emits much, late if its element says so.
type emitting struct{}

func (*emitting) ProcessElement(el []byte, emit func([]byte)) {
	if string(el) == "late" {
		if f, ok := Hooks.Load("entered"); ok {
			f.(func())()
		}
		if f, ok := Hooks.Load("hang"); ok {
			f.(func())()
		}
	}
	for range 20 {
		emit(make([]byte, 50_000))
	}
}

// identity is the cheapest DoFn.
type identity struct{}

func (*identity) ProcessElement(k, v []byte) ([]byte, []byte) { return k, v }

// counting counts its elements in all kinds of metrics.
type counting struct{}

func (*counting) ProcessElement(ctx context.Context, el []byte, emit func([]byte)) {
	beam.NewCounter("test", "elements").Inc(ctx, 1)
	beam.NewDistribution("test", "lengths").Update(ctx, int64(len(el)))
	beam.NewGauge("test", "last").Set(ctx, int64(len(el)))
	if string(el) == "slow" {
		time.Sleep(60 * time.Millisecond)
	}
	emit(el)
}

// finalizing asks for a call when its bundle is durable.
type finalizing struct{}

func (*finalizing) ProcessElement(bf beam.BundleFinalization, el []byte, emit func([]byte)) {
	s := string(el)
	valid := time.Minute
	if s == "expired" {
		valid = -time.Second
	}
	if s != "plain" {
		bf.RegisterCallback(valid, func() error {
			if f, ok := Hooks.Load("finalized"); ok {
				f.(func(string))(s)
			}
			if s == "panic" {
				panic("callback panics")
			}
			if s == "fail" {
				return errors.New("callback says no")
			}
			return nil
		})
	}
	emit(el)
}

// listing emits its iterable side input.
type listing struct{}

func (*listing) ProcessElement(_ []byte, side func(*string) bool, emit func(string)) {
	var v string
	for side(&v) {
		emit(v)
	}
}

// looking looks its element up in a multimap side input.
type looking struct{}

func (*looking) ProcessElement(k string, side func(string) func(*string) bool, emit func(string)) {
	var v string
	for it := side(k); it(&v); {
		emit(k + "=" + v)
	}
}

// stateful keeps every kind of user state. What it does with it is its value.
type stateful struct {
	Bag  state.Bag[string]
	Val  state.Value[string]
	Map  state.Map[string, string]
	Set  state.Set[string]
	List state.OrderedList[string]
}

func (f *stateful) ProcessElement(p state.Provider, _, do string, emit func(string)) error {
	switch do {
	case "write":
		return errors.Join(f.Bag.Add(p, "b1"), f.Bag.Add(p, "b2"), f.Val.Write(p, "v"),
			f.Map.Put(p, "mk", "mv"), f.Set.Add(p, "s"),
			f.List.Add(p, 5, "five"), f.List.Add(p, 7, "seven"))
	case "read":
		bag, _, err1 := f.Bag.Read(p)
		val, _, err2 := f.Val.Read(p)
		m, _, err3 := f.Map.Get(p, "mk")
		keys, _, err4 := f.Map.Keys(p)
		in, err5 := f.Set.Contains(p, "s")
		list, _, err6 := f.List.ReadRange(p, 6, 9)
		emit(fmt.Sprint(bag, val, m, keys, in, list))
		return errors.Join(err1, err2, err3, err4, err5, err6)
	case "clear":
		return errors.Join(f.Bag.Clear(p), f.Val.Clear(p), f.Map.Remove(p, "mk"), f.Map.Clear(p), f.Set.Clear(p),
			f.List.ClearRange(p, 6, 9))
	}
	return fmt.Errorf("unknown deed %q", do)
}

// timed sets timers in two families.
type timed struct {
	Event timers.EventTime
	Proc  timers.ProcessingTime
	Seen  state.Bag[string]
}

func (f *timed) ProcessElement(p state.Provider, tp timers.Provider, k, v string) {
	f.Event.Set(tp, time.UnixMilli(1000), timers.WithTag(v))
	f.Proc.Set(tp, time.UnixMilli(2000))
}

func (f *timed) OnTimer(p state.Provider, tp timers.Provider, key string, tc timers.Context) {
	if err := f.Seen.Add(p, key+"/"+tc.Family+"/"+tc.Tag); err != nil {
		panic(err)
	}
}

// ranging emits the offsets of its restriction, and yields where its element says.
type ranging struct{}

func (*ranging) CreateInitialRestriction([]byte) offsetrange.Restriction {
	return offsetrange.Restriction{Start: 0, End: 100}
}

func (*ranging) SplitRestriction(_ []byte, r offsetrange.Restriction) []offsetrange.Restriction {
	return []offsetrange.Restriction{r}
}

func (*ranging) RestrictionSize(_ []byte, r offsetrange.Restriction) float64 { return r.Size() }

func (*ranging) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(&tracker{offsetrange.NewTracker(r)})
}

// tracker lets a script in when it is split.
type tracker struct{ *offsetrange.Tracker }

func (t *tracker) TrySplit(fraction float64) (any, any, error) {
	if f, ok := Hooks.Load("splitting"); ok {
		f.(func())()
	}
	return t.Tracker.TrySplit(fraction)
}

func (*ranging) ProcessElement(rt *sdf.LockRTracker, el []byte, emit func(int64)) sdf.ProcessContinuation {
	i := rt.GetRestriction().(offsetrange.Restriction).Start
	for ; rt.TryClaim(i); i++ {
		if string(el) == "wait" && i == 10 {
			if f, ok := Hooks.Load("claimed"); ok {
				f.(func())()
			}
		}
		emit(i)
		if string(el) == "yield" && i == 4 {
			return sdf.ResumeProcessingIn(3 * time.Second)
		}
	}
	return sdf.StopProcessing()
}

func newStateful() *stateful {
	return &stateful{Bag: state.MakeBagState[string]("bag"), Val: state.MakeValueState[string]("val"),
		Map: state.MakeMapState[string, string]("map"), Set: state.MakeSetState[string]("set"),
		List: state.MakeOrderedListState[string]("list")}
}

func newTimed() *timed {
	return &timed{Event: timers.InEventTime("event"), Proc: timers.InProcessingTime("proc"),
		Seen: state.MakeBagState[string]("seen")}
}
