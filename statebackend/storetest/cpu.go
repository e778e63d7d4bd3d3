package storetest

import (
	"syscall"
	"testing"
)

// perEntry reports time and CPU, the process's with background work in it, by
// entry. On a machine that others use too, only the CPU can be compared.
func perEntry(b *testing.B, n int, run func()) {
	before := cpuNanos()
	run()
	per := float64(b.N) * float64(n)
	b.ReportMetric(float64(cpuNanos()-before)/per, "cpu-ns/entry")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/per, "ns/entry")
}

func cpuNanos() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
