package inproc

import (
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/metricsx"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// metricKey names a monitoring info.
type metricKey struct {
	urn metricsx.Urn
	metrics.Labels
}

// monitoringInfos are a running or finished bundle's metrics as the SDK's
// harness reports them (harness/monitoring.go). Labels are shared between
// bundles and must not be changed.
func (p *plan) monitoringInfos(store *metrics.Store) []*pipepb.MonitoringInfo {
	return p.collect(store, p.infos)
}

// collect makes the infos; names, if it isn't nil, is a cache of their constant
// parts which only the goroutine that has the plan may pass.
func (p *plan) collect(store *metrics.Store, names map[metricKey]*pipepb.MonitoringInfo) []*pipepb.MonitoringInfo {
	var out []*pipepb.MonitoringInfo
	add := func(urn metricsx.Urn, l metrics.Labels, payload []byte, err error) {
		if err != nil { // Writing varints to memory can't fail.
			return
		}
		k := metricKey{urn, l}
		name := names[k]
		if name == nil {
			name = &pipepb.MonitoringInfo{Urn: metricsx.UrnToString(urn), Type: metricsx.UrnToType(urn), Labels: labels(l)}
			if names != nil {
				names[k] = name
			}
		}
		out = append(out, &pipepb.MonitoringInfo{Urn: name.Urn, Type: name.Type, Labels: name.Labels, Payload: payload})
	}
	// The only error is that no function is set.
	_ = metrics.Extractor{
		SumInt64: func(l metrics.Labels, v int64) {
			b, err := metricsx.Int64Counter(v)
			add(metricsx.UrnUserSumInt64, l, b, err)
		},
		DistributionInt64: func(l metrics.Labels, count, sum, lo, hi int64) {
			b, err := metricsx.Int64Distribution(count, sum, lo, hi)
			add(metricsx.UrnUserDistInt64, l, b, err)
		},
		GaugeInt64: func(l metrics.Labels, v int64, t time.Time) {
			b, err := metricsx.Int64Latest(t, v)
			add(metricsx.UrnUserLatestMsInt64, l, b, err)
		},
		MsecsInt64: func(transform string, states *[4]metrics.ExecutionState) {
			for i, s := range states {
				b, err := metricsx.Int64Counter(s.TotalTime.Milliseconds())
				add(metricsx.ExecutionMsecUrn(i), metrics.PTransformLabels(transform), b, err)
			}
		},
	}.ExtractFrom(store)

	snap, ok := p.Progress()
	if !ok {
		return out
	}
	for _, c := range snap.PCols {
		l := metrics.PCollectionLabels(c.ID)
		b, err := metricsx.Int64Counter(c.ElementCount)
		add(metricsx.UrnElementCount, l, b, err)
		if c.SizeCount != 0 {
			b, err := metricsx.Int64Distribution(c.SizeCount, c.SizeSum, c.SizeMin, c.SizeMax)
			add(metricsx.UrnSampledByteSize, l, b, err)
		}
	}
	b, err := metricsx.Int64Counter(snap.Source.Count)
	add(metricsx.UrnDataChannelReadIndex, metrics.PTransformLabels(snap.Source.ID), b, err)
	return out
}

// labels leaves out the empty name and namespace that the SDK's Labels.Map gives
// to metrics of a transform which are not the user's.
func labels(l metrics.Labels) map[string]string {
	if l.Name() == "" && l.Transform() != "" {
		return map[string]string{"PTRANSFORM": l.Transform()}
	}
	return l.Map()
}
