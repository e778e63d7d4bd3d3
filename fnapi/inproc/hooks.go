package inproc

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/harness"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/util/hooks"
)

// hooksMu keeps workers that start at the same time from taking turns in the
// middle of runHooks: the SDK's hook registry is the process's.
var hooksMu sync.Mutex

// runHooks does what the SDK's harness does before a worker's first bundle: it
// activates the hooks that the program has enabled and runs their init part. The
// context it returns holds the values that hooks hand to bundles.
//
// The harness's own logging hook is left out: it would send beam/log to a
// logging service, and there is none. It is enabled again afterwards, for a
// LOOPBACK worker of the same process.
func runHooks(ctx context.Context) (values context.Context, err error) {
	hooksMu.Lock()
	defer hooksMu.Unlock()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	if on, args := hooks.IsEnabled(harness.DefaultRemoteLoggingHook); on {
		hooks.DisableHook(harness.DefaultRemoteLoggingHook)
		defer func() {
			// It was registered, or it wouldn't have been enabled.
			_ = hooks.EnableHook(harness.DefaultRemoteLoggingHook, args...)
			hooks.SerializeHooksToOptions()
		}()
	}
	hooks.SerializeHooksToOptions()
	hooks.DeserializeHooksFromOptions(ctx)
	return hooks.RunInitHooks(context.WithoutCancel(ctx))
}

// samplePeriod is the harness's, or what the program has set for it.
func samplePeriod() time.Duration {
	if on, args := hooks.IsEnabled("beam:go:hook:dofnmetrics:sampletime"); on && len(args) == 1 {
		if d, err := time.ParseDuration(args[0]); err == nil && d > 0 {
			return d
		}
	}
	return 200 * time.Millisecond
}

// elementTimeout is the pipeline option that limits an element's time in a
// transform, 0 for no limit.
func elementTimeout() time.Duration {
	d, err := time.ParseDuration(beam.PipelineOptions.Get("element_processing_timeout"))
	if err != nil || d < 0 {
		return 0
	}
	return d
}

// bundleContext ends with one context and has the values of another as well.
type bundleContext struct {
	context.Context
	values context.Context
}

func (c bundleContext) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.values.Value(key)
}
