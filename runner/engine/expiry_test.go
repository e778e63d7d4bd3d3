package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
	"google.golang.org/protobuf/proto"
)

// expiryPlan is a TestStream and a DoFn with a bag and a value of state and timers in windows of
// ten milliseconds. Allowed lateness is 5 ms.
func expiryPlan(t *testing.T, tell bool, events ...graph.TestEvent) *graph.Plan {
	t.Helper()
	all := testCoders()
	all["timer"] = &pipepb.Coder{
		Spec: &pipepb.FunctionSpec{Urn: "beam:coder:timer:v1"}, ComponentCoderIds: []string{"bytes", "interval"},
	}
	payload, err := proto.Marshal(&pipepb.ParDoPayload{StateSpecs: map[string]*pipepb.StateSpec{
		"bag":   {},
		"value": {Spec: &pipepb.StateSpec_ReadModifyWriteSpec{ReadModifyWriteSpec: &pipepb.ReadModifyWriteStateSpec{CoderId: "bytes"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	expiry := &graph.Expiry{AllowedLateness: 5}
	if tell {
		expiry.Transform, expiry.Family = "t", "gone"
	}
	return &graph.Plan{
		Pipeline: &pipepb.Pipeline{Components: &pipepb.Components{Environments: map[string]*pipepb.Environment{"go": {}}}},
		Coders:   all,
		Stages: []*graph.Stage{
			{ID: "s00", Name: "Stream", Kind: graph.TestStream, TestEvents: events,
				Outputs: []*graph.Output{{Coder: "ikv", To: []graph.Target{{Stage: 1, SideInput: -1}}}}},
			{Index: 1, ID: "s01", Name: "State", Kind: graph.SDK, Environment: "go", Stateful: true, Expiry: expiry,
				Transforms: []string{"t"},
				Descriptor: &fnpb.ProcessBundleDescriptor{Id: "s01", Transforms: map[string]*pipepb.PTransform{
					"t": {Spec: &pipepb.FunctionSpec{Urn: urnParDo, Payload: payload}},
				}},
				Input: &graph.Input{Keyed: true, From: []graph.Edge{{}}, Coder: "ikv", Source: "src"},
				Timers: []*graph.Timer{
					{Transform: "t", Family: "event", Domain: pipepb.TimeDomain_EVENT_TIME, Coder: "timer"},
					{Transform: "t", Family: "clock", Domain: pipepb.TimeDomain_PROCESSING_TIME, Coder: "timer"},
					{Transform: "t", Family: "gone", Domain: pipepb.TimeDomain_EVENT_TIME, Coder: "timer"},
				}},
		},
	}
}

func windowAt(start int64) coders.IntervalWindow {
	return coders.IntervalWindow{Start: start, End: start + 10}
}

// expiryWorker plays a DoFn that keeps its elements' values in a bag, and a copy of it in a value, and logs.
type expiryWorker struct {
	t    *testing.T
	scan *coders.Windowed
	// on is called for each element and timer, with what sets timers.
	on func(what, key string, w coders.IntervalWindow, set func(family string, fire int64))

	mu  sync.Mutex
	log []string
}

func (x *expiryWorker) stateKey(id, key string, w coders.IntervalWindow) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{
		TransformId: "t", UserStateId: id, Window: coders.AppendIntervalWindow(nil, w), Key: str(key),
	}}}
}

func (x *expiryWorker) run(ctx context.Context, b *Bundle) (*Result, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	do := func(what string, key []byte, window []byte) {
		_, n, _ := coders.ReadVarint(key)
		k := string(key[n:])
		w, _, err := coders.ReadIntervalWindow(window)
		if err != nil {
			x.t.Error(err)
		}
		data, _, err := b.State.Get(ctx, x.stateKey("bag", k, w), nil)
		if err != nil {
			x.t.Error(err)
		}
		if value, _, err := b.State.Get(ctx, x.stateKey("value", k, w), nil); err != nil || string(value) != string(data) {
			x.t.Errorf("the value is %q, the bag has %q, error %v", value, data, err)
		}
		x.log = append(x.log, fmt.Sprintf("%s %s@%d [%s]", what, k, w.Start, data))
		if x.on != nil {
			x.on(what, k, w, func(family string, fire int64) {
				timer := coders.AppendTimer(nil, &coders.TimerElement{Key: key, Windows: window, NumWindows: 1, Fire: fire, Hold: coders.MaxTimestamp})
				if err := b.TimerOutput("t", family, timer); err != nil {
					x.t.Error(err)
				}
			})
		}
		if what != "gone" && what != "event" && what != "clock" {
			for _, id := range []string{"bag", "value"} {
				if err := b.State.Append(ctx, x.stateKey(id, k, w), []byte(what)); err != nil {
					x.t.Error(err)
				}
			}
		}
	}
	var e coders.Element
	for data := input(b); len(data) > 0; {
		n, err := x.scan.Next(data, &e)
		if err != nil {
			return nil, err
		}
		_, m, _ := coders.ReadVarint(e.Value)
		do(string(e.Value[m:]), slices.Clone(e.Key), slices.Clone(e.Windows))
		data = data[n:]
	}
	if b.Timers != nil {
		timers, err := coders.CompileTimer(expiryPlan(x.t, true).Coders, "timer")
		if err != nil {
			return nil, err
		}
		for c := range b.Timers {
			var e coders.TimerElement
			for data := c.Data; len(data) > 0; {
				n, err := timers.Next(data, &e)
				if err != nil {
					return nil, err
				}
				do(c.Family, slices.Clone(e.Key), slices.Clone(e.Windows))
				data = data[n:]
			}
		}
	}
	return &Result{}, nil
}

// runExpiry runs the job. It returns the DoFn's log, and how many records of state are
// left in the store.
func runExpiry(t *testing.T, plan *graph.Plan, x *expiryWorker) (log []string, left int) {
	t.Helper()
	scan, err := coders.CompileWindowed(plan.Coders, "ikv")
	if err != nil {
		t.Fatal(err)
	}
	x.t, x.scan = t, scan
	s := &script{stages: map[string]func(context.Context, *Bundle) (*Result, error){"s01": x.run}}
	disk := memstore.NewDisk(nil)
	open := func() (statebackend.Store, error) { return disk.Open("job", statebackend.Options{}) }
	j, err := New(Config{
		Workers: s, OpenStore: open, Core: core.Config{Shards: 1, StartMillis: 1000, EpochInterval: time.Millisecond},
	}, &JobInfo{ID: "job", Log: slog.New(slog.DiscardHandler)}, plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t, j); err != nil {
		t.Fatal(err)
	}
	st, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.Scan(nil, nil, func([]byte, []byte) bool { left++; return true }); err != nil {
		t.Fatal(err)
	}
	return x.log, left
}

func wantLog(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}

func at(ts int64, key, value string) []byte { return kv(ts, key, value, windowAt(ts/10*10)) }

// TestOnWindowExpiration: the DoFn hears of each key and window once, behind all of
// its timers, finds its state, and nothing of it stays. Late elements are taken while
// the window is open and dropped then.
func TestOnWindowExpiration(t *testing.T) {
	plan := expiryPlan(t, true,
		graph.TestEvent{Elements: [][]byte{at(1, "a", "1"), at(2, "b", "2"), at(11, "a", "3")}},
		graph.TestEvent{Watermark: 12},
		graph.TestEvent{Elements: [][]byte{at(3, "a", "4")}},
		graph.TestEvent{Watermark: 14},
		graph.TestEvent{Watermark: 15},
		graph.TestEvent{Elements: [][]byte{at(4, "a", "late")}},
		graph.TestEvent{Elements: [][]byte{at(12, "a", "5")}},
	)
	x := &expiryWorker{}
	x.on = func(what, key string, w coders.IntervalWindow, set func(string, int64)) {
		switch {
		case what == "1":
			set("event", 12) // behind the window's end, before it expires
		case what == "event" && w.Start == 0 && len(x.log) < 6:
			set("event", 13)
		}
	}
	log, left := runExpiry(t, plan, x)
	// Windows expire in order, keys in any.
	if i := slices.Index(log, "gone b@0 [2]"); i > 0 && log[i-1] == "gone a@0 [14]" {
		log[i-1], log[i] = log[i], log[i-1]
	}
	wantLog(t, log,
		"1 a@0 []", "2 b@0 []", "3 a@10 []",
		"event a@0 [1]", "4 a@0 [1]", "event a@0 [14]",
		"gone b@0 [2]", "gone a@0 [14]",
		"5 a@10 [3]", "gone a@10 [35]")
	if left != 0 {
		t.Errorf("%d records of state are left", left)
	}
}

// TestStateExpires: without a word to the DoFn state goes too, but not before timers
// in processing time that were set in time; those set later are dropped.
func TestStateExpires(t *testing.T) {
	plan := expiryPlan(t, false,
		graph.TestEvent{Elements: [][]byte{at(1, "a", "1"), at(2, "b", "2")}},
		graph.TestEvent{Watermark: 100},
		graph.TestEvent{Advance: 50},
		graph.TestEvent{Advance: 50},
		graph.TestEvent{Advance: 50},
		graph.TestEvent{Elements: [][]byte{at(101, "a", "3")}},
		graph.TestEvent{Advance: 50},
	)
	x := &expiryWorker{}
	x.on = func(what, key string, w coders.IntervalWindow, set func(string, int64)) {
		if what == "1" {
			set("clock", 1100)
		}
		if what == "clock" {
			set("clock", 1150)
		}
	}
	log, _ := runExpiry(t, plan, x)
	wantLog(t, log, "1 a@0 []", "2 b@0 []", "clock a@0 [1]", "3 a@100 []")
}

// TestSomeWindowsOfAnElementExpire: a late element comes in those of its windows that are open.
func TestSomeWindowsOfAnElementExpire(t *testing.T) {
	plan := expiryPlan(t, false,
		graph.TestEvent{Watermark: 20}, // the first window has expired, the second has not
		graph.TestEvent{Elements: [][]byte{kv(9, "a", "1", windowAt(0), windowAt(10)), kv(8, "a", "2", windowAt(0))}},
	)
	log, _ := runExpiry(t, plan, &expiryWorker{})
	wantLog(t, log, "1 a@10 []")
}

// TestExpiriesInTheDriver looks at what a shard keeps.
func TestExpiriesInTheDriver(t *testing.T) {
	plan := expiryPlan(t, false)
	st, err := newStageRun(plan, plan.Stages[1], core.Config{Shards: 1}, limits{blockBytes: 100, blockElements: 10}, &keeper{})
	if err != nil {
		t.Fatal(err)
	}
	shard := st.timers[0]
	bundle := func(event int64, write ...string) *bundleState {
		t.Helper()
		b := newBundleTimers(st, shard, core.RunBundle{Event: event, Processing: core.MinTime})
		state := newBundleState(st, st.shards[0], func() (statebackend.Reader, error) { return nil, nil })
		x := &expiryWorker{}
		for _, key := range write {
			if err := state.Append(t.Context(), x.stateKey("value", key, windowAt(0)), []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.begin(); err != nil {
			t.Fatal(err)
		}
		if err := b.expire(state); err != nil {
			t.Fatal(err)
		}
		if _, err := b.settle(); err != nil {
			t.Fatal(err)
		}
		return state
	}
	bundle(0, "a", "b")
	// The window's last moment is 9, and 5 ms may be late.
	if next := shard.summary().Event; next != 15 {
		t.Fatalf("next at %d, want 15", next)
	}
	if hold := shard.summary().Hold; hold != core.MaxTime {
		t.Errorf("held at %d, though nothing will come", hold)
	}
	state := bundle(15)
	cleared := 0
	for _, c := range state.staged().cells {
		if c.cleared {
			cleared++
		}
	}
	for _, v := range state.staged().values {
		if len(v.data) == 0 {
			cleared++
		}
	}
	if cleared != 4 || *shard.summary() != core.NoTimers {
		t.Errorf("%d cells cleared, left %+v; want 4 and nothing", cleared, *shard.summary())
	}
	// A job that ends leaves its state to its end.
	bundle(0, "a")
	if state := bundle(core.MaxTime); len(state.staged().cells) != 0 || *shard.summary() != core.NoTimers {
		t.Errorf("%d cells cleared at the end, left %+v", len(state.staged().cells), *shard.summary())
	}
}

// TestWindowsThatLast: no key is kept for a window that is open as long as the job, unless its DoFn
// wants to hear of the end.
func TestWindowsThatLast(t *testing.T) {
	stage := func(plan *graph.Plan) *stageRun {
		t.Helper()
		st, err := newStageRun(plan, plan.Stages[1], core.Config{Shards: 1}, limits{blockBytes: 100, blockElements: 10}, &keeper{})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	global := counterPlan(t, nil)
	if st := stage(global); st.timers != nil {
		t.Error("a stage in the global window keeps what expires")
	}
	global.Stages[1].Expiry.Transform, global.Stages[1].Expiry.Family = "t", "gone"
	if st := stage(global); st.timers == nil || st.timers[0].expiring == nil {
		t.Error("a DoFn won't hear of the global window's end")
	}
	end := coders.IntervalWindow{Start: 0, End: coders.GlobalWindowMaxTimestamp + 1}
	for _, c := range []struct {
		window coders.IntervalWindow
		tells  bool
		due    int64
	}{
		{window: windowAt(0), due: 15},
		{window: windowAt(0), tells: true, due: 15},
		{window: end, due: core.MaxTime},
		{window: end, tells: true, due: coders.GlobalWindowMaxTimestamp + 6},
	} {
		st := stage(expiryPlan(t, c.tells))
		x := st.timers[0].expiring
		if err := x.touch(st, string(coders.AppendIntervalWindow(nil, c.window)), "key"); err != nil {
			t.Fatal(err)
		}
		if x.next() != c.due {
			t.Errorf("%v, heard of %v: due at %d, want %d", c.window, c.tells, x.next(), c.due)
		}
	}
}
