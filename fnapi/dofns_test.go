package fnapi_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.Function1x1(upper)
	register.Function1x1(identity)
	register.Function2x1(hang)
	register.Function2x1(logged)
	register.Function1x2(fails)
	register.Function1x2(keyed)
	register.DoFn5x0[state.Provider, timers.Provider, string, []byte, func([]byte)](&remembering{})
	register.DoFn3x1[context.Context, beam.BundleFinalization, []byte, []byte](&finalizing{})
	register.Emitter1[[]byte]()
}

func upper(b []byte) []byte { return bytes.ToUpper(b) }

func identity(b []byte) []byte { return b }

func hang(ctx context.Context, b []byte) []byte {
	log.Infof(ctx, "hanging in process %d", os.Getpid())
	time.Sleep(time.Hour)
	return b
}

func logged(ctx context.Context, b []byte) []byte {
	log.Warnf(ctx, "seen %s", b)
	return b
}

func fails(b []byte) ([]byte, error) { return nil, fmt.Errorf("cannot stomach %s", b) }

func keyed(b []byte) (string, []byte) { return string(b[:1]), b }

// remembering keeps the key's values in a bag and has two timer families; each
// timer emits its family, and the first all that is in the bag.
type remembering struct {
	Bag           state.Bag[[]byte]
	First, Second timers.EventTime
}

func newRemembering() *remembering {
	return &remembering{
		Bag:    state.MakeBagState[[]byte]("bag"),
		First:  timers.InEventTime("first"),
		Second: timers.InEventTime("second"),
	}
}

func (fn *remembering) ProcessElement(sp state.Provider, tp timers.Provider, _ string, b []byte, _ func([]byte)) {
	if err := fn.Bag.Add(sp, b); err != nil {
		panic(err)
	}
	fn.First.Set(tp, time.UnixMilli(1))
	if string(b) != "only first" {
		fn.Second.Set(tp, time.UnixMilli(2))
	}
}

func (fn *remembering) OnTimer(_ context.Context, sp state.Provider, _ timers.Provider, key string, timer timers.Context, emit func([]byte)) {
	emit([]byte(timer.Family))
	if timer.Family != "first" {
		return
	}
	bag, _, err := fn.Bag.Read(sp)
	if err != nil {
		panic(err)
	}
	for _, b := range bag {
		emit(b)
	}
}

// finalizing registers a callback.
type finalizing struct{}

// finalized gets the elements of bundles that were finalized.
var finalized = make(chan string, 1000)

func (*finalizing) ProcessElement(_ context.Context, bf beam.BundleFinalization, b []byte) []byte {
	s := string(b)
	bf.RegisterCallback(time.Hour, func() error {
		finalized <- s
		return nil
	})
	return b
}
