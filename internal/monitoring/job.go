package monitoring

import (
	"sync"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// Job keeps a job's metrics in Beam's two views. Committed figures come from
// bundles that succeeded. Attempted figures come from all: those that succeeded,
// the last seen of those that failed, and the latest of those still running.
//
// Its zero value is ready. It is safe for concurrent use, and a snapshot counts
// every bundle exactly once, whether it is just ending or not. Errors are those of
// [Accumulator.Add]: what could be read is counted.
type Job struct {
	mu        sync.Mutex
	committed table
	failed    table
	// running holds the latest progress of the bundles between BundleStarted and
	// their end; nil for a bundle without any.
	running map[string]*table
}

// BundleStarted announces a bundle by its instruction id. A bundle that was not
// announced has no progress.
func (j *Job) BundleStarted(bundle string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.running == nil {
		j.running = make(map[string]*table)
	}
	j.running[bundle] = nil
}

// Progress takes a running bundle's figures so far, in place of earlier ones.
//
// The answer to a progress request may arrive after the bundle's own: the worker
// sent it first, but another goroutine carries it here. Were it taken, the bundle's
// figures would be attempted twice, and for ever. So progress of a bundle that
// is not running is dropped.
func (j *Job) Progress(bundle string, infos []*pipepb.MonitoringInfo) error {
	var t table
	err := t.add(infos)
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.running[bundle]; ok {
		j.running[bundle] = &t
	}
	return err
}

// BundleDone takes the final figures of a bundle that succeeded.
func (j *Job) BundleDone(bundle string, infos []*pipepb.MonitoringInfo) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.running, bundle)
	return j.committed.add(infos)
}

// BundleFailed ends a bundle that failed. Its figures are infos, or where there
// are none, as when its worker is gone, those of its last progress.
func (j *Job) BundleFailed(bundle string, infos []*pipepb.MonitoringInfo) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	last := j.running[bundle]
	delete(j.running, bundle)
	if len(infos) > 0 {
		return j.failed.add(infos)
	}
	if last != nil {
		j.failed.merge(last)
	}
	return nil
}

// Snapshot returns both views, each ordered as by [Accumulator.Snapshot].
func (j *Job) Snapshot() (attempted, committed []*pipepb.MonitoringInfo) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all table
	// For types of which the newest is kept, the order is by what is most likely so.
	all.merge(&j.failed)
	all.merge(&j.committed)
	for _, bundle := range sortedKeys(j.running) {
		if t := j.running[bundle]; t != nil {
			all.merge(t)
		}
	}
	return all.snapshot(), j.committed.snapshot()
}

// Committed returns the committed figures alone.
func (j *Job) Committed() []*pipepb.MonitoringInfo {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.committed.snapshot()
}
