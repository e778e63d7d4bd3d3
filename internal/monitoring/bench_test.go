package monitoring

import (
	"fmt"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// report is what a bundle of 20 transforms sends: 100 infos.
func report() []*pipepb.MonitoringInfo {
	var infos []*pipepb.MonitoringInfo
	for i := range 20 {
		step := fmt.Sprintf("step%d", i)
		infos = append(infos,
			info("beam:metric:element_count:v1", typeSumInt64, step, ints(1000)),
			info("beam:metric:sampled_byte_size:v1", typeDistInt64, step, ints(10, 1000, 90, 110)),
			info("beam:metric:pardo_execution_time:process_bundle_msecs:v1", typeSumInt64, step, ints(12)),
			info("beam:metric:user:latest_int64:v1", typeLatestInt64, step, ints(1_600_000_000_000, 5)),
			info("beam:metric:user:sum_double:v1", typeSumDouble, step, floats(1.5)),
		)
	}
	return infos
}

func BenchmarkBundleDone(b *testing.B) {
	var j Job
	infos := report()
	_ = j.BundleDone("first", infos)
	b.ReportAllocs()
	for b.Loop() {
		j.BundleStarted("b")
		if err := j.BundleDone("b", infos); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(infos)), "ns/info")
}

func BenchmarkProgress(b *testing.B) {
	var j Job
	infos := report()
	j.BundleStarted("b")
	b.ReportAllocs()
	for b.Loop() {
		if err := j.Progress("b", infos); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	var j Job
	infos := report()
	_ = j.BundleDone("a", infos)
	for i := range 8 {
		id := fmt.Sprint(i)
		j.BundleStarted(id)
		_ = j.Progress(id, infos)
	}
	b.ReportAllocs()
	for b.Loop() {
		j.Snapshot()
	}
}
