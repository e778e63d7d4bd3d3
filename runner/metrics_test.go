package runner

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/summerbeam/summerbeam/runner/engine"
)

// TestMetrics: a running job's are there with its id and name, and go with it.
func TestMetrics(t *testing.T) {
	s := startServer(t)
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(s.server.Metrics())
	gather := func() map[string]int {
		t.Helper()
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, f := range families {
			got[f.GetName()] = len(f.GetMetric())
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetValue() == "" {
						t.Errorf("%s has no %s", f.GetName(), l.GetName())
					}
				}
			}
		}
		return got
	}
	s.surrounded(func() {
		// The other job may still be on its way.
		for range 500 {
			if gather()["summerbeam_job_running_bundles"] > 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		got := gather()
		for name, want := range map[string]int{
			"summerbeam_memory_limit_bytes": 1, "summerbeam_memory_used_bytes": 1, "summerbeam_job_memory_bytes": 7,
			"summerbeam_job_spilled_bytes": 1, "summerbeam_job_spill_written_bytes_total": 1, "summerbeam_job_bundles_total": 1,
			"summerbeam_job_elements_total": 1, "summerbeam_job_retries_total": 1, "summerbeam_job_running_bundles": 1,
		} {
			if got[name] != want {
				t.Errorf("%d of %s, want %d", got[name], name, want)
			}
		}
	})
	if n := gather()["summerbeam_job_bundles_total"]; n != 0 {
		t.Errorf("metrics of %d jobs when all are over", n)
	}
}

// TestLag: what is not durable ages, nothing does not.
func TestLag(t *testing.T) {
	now := time.Unix(100, 0)
	if d := lag(engine.Progress{}, now); d != 0 {
		t.Errorf("nothing is %s old", d)
	}
	if d := lag(engine.Progress{Undurable: now.Add(-3 * time.Second)}, now); d != 3*time.Second {
		t.Errorf("got %s, want 3s", d)
	}
}
