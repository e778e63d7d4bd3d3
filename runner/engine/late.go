package engine

import (
	"encoding/binary"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// Names of the counter of elements that were dropped because they came too late: by
// more than the allowed lateness, or for a window that had expired. Users query it
// as a counter of their own.
const (
	LateNamespace = "summerbeam"
	LateName      = "dropped_due_to_lateness"
)

// lateMetrics says that a transform has dropped n elements, once for each of their
// windows.
func lateMetrics(transform string, n int64) []*pipepb.MonitoringInfo {
	return []*pipepb.MonitoringInfo{{
		Urn: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1",
		Labels:  map[string]string{"PTRANSFORM": transform, "NAMESPACE": LateNamespace, "NAME": LateName},
		Payload: binary.AppendUvarint(nil, uint64(n)),
	}}
}

// noteLate counts what a bundle or a grouping, which is applied, has dropped. The loop
// calls it.
func (j *Job) noteLate(st *stageRun, bundle, transform string, n int64) {
	if n == 0 {
		return
	}
	j.progress.late.Add(n)
	j.info.Log.Debug("late elements dropped", "stage", st.plan.ID, "transform", transform, "elements", n)
	if err := j.metrics.BundleDone(bundle, lateMetrics(transform, n)); err != nil {
		j.info.Log.Warn("BUG: counting late elements", "error", err)
	}
}

// root is the transform that a stage's elements come to first.
func (r *stageRun) root() string {
	if len(r.plan.Transforms) == 0 {
		return ""
	}
	return r.plan.Transforms[0]
}

// inputTransform is the transform that the stage's input side stands for: a GroupByKey, or
// the one whose elements are sorted.
func (r *stageRun) inputTransform() string {
	if g := r.plan.Input.Grouping; g != nil {
		return g.Transform
	}
	return r.root()
}
