// Package monitoring merges Beam monitoring infos.
//
// A bundle ends with a list of monitoring infos: counters, distributions,
// gauges. What a job shows of them is their merge over all its bundles. How two
// of them merge is said by the info's type URN alone (Beam's metrics.proto,
// MonitoringInfoTypeUrns); the info's URN and labels only say which belong
// together.
//
//   - [Accumulator] merges infos of any number of bundles.
//   - [Job] keeps a job's two views: attempted and committed.
package monitoring

// Type URNs that are merged by value. Of every other type the newest info is kept:
// of progress:v1 and monitoring tables, which describe the moment; of top_n and
// bottom_n, whose encoding does not say what N is; and of types not known here.
const (
	typeSumInt64       = "beam:metrics:sum_int64:v1"
	typeSumDouble      = "beam:metrics:sum_double:v1"
	typeDistInt64      = "beam:metrics:distribution_int64:v1"
	typeDistDouble     = "beam:metrics:distribution_double:v1"
	typeLatestInt64    = "beam:metrics:latest_int64:v1"
	typeLatestDouble   = "beam:metrics:latest_double:v1"
	typeSetString      = "beam:metrics:set_string:v1"
	typeBoundedTrie    = "beam:metrics:bounded_trie:v1"
	typeHistogramInt64 = "beam:metrics:histogram_int64:v1"
)
