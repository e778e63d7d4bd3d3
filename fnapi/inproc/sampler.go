package inproc

import (
	"fmt"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
)

// sampler looks at every running bundle once in a period and counts the period
// for the transform it is in: the execution time metrics. One goroutine does it
// for all bundles of the worker, since most bundles are shorter than a period and
// would pay for a ticker that never ticks. It runs while there are bundles.
type sampler struct {
	period time.Duration

	mu sync.Mutex
	// guarded by mu
	watched map[*bundleRun]*metrics.StateSampler
	ticking bool
	closed  bool
}

func newSampler(period time.Duration) *sampler {
	return &sampler{period: period, watched: map[*bundleRun]*metrics.StateSampler{}}
}

// add watches a bundle until the function it returns is called.
func (s *sampler) add(r *bundleRun, store *metrics.Store) (stop func()) {
	ss := metrics.NewSampler(store, r.w.timeout)
	s.mu.Lock()
	s.watched[r] = &ss
	if !s.ticking && !s.closed {
		s.ticking = true
		go s.tick()
	}
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		delete(s.watched, r)
		s.mu.Unlock()
	}
}

// tick ends when it has found nothing to watch for a whole period.
func (s *sampler) tick() {
	t := time.NewTicker(s.period)
	defer t.Stop()
	for range t.C {
		if !s.sample() {
			return
		}
	}
}

func (s *sampler) sample() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.watched) == 0 || s.closed {
		s.ticking = false
		return false
	}
	for r, ss := range s.watched {
		// The harness ends its process when an element takes longer than the
		// pipeline allows; here only the bundle ends.
		if err := ss.Sample(r.ctx, s.period); err != nil {
			r.cancel(fmt.Errorf("stage %s: %w", r.b.Stage, err))
		}
	}
	return true
}

func (s *sampler) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}
