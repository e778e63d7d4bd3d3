// Package measure runs workloads on peers and measures them.
package measure

import (
	"slices"
	"time"
)

// Run is one run of a workload on a peer.
type Run struct {
	// Seconds that the pipeline took, from its submission to its end; for
	// workloads that don't say it, those of the whole process.
	Seconds float64 `json:"seconds"`
	// CPU seconds of the program and the server, with their children.
	CPU float64 `json:"cpu_seconds"`
	// Peak memory in bytes: of both, of the program, and of the server.
	Peak        int64 `json:"peak_rss"`
	ProgramPeak int64 `json:"program_peak_rss"`
	ServerPeak  int64 `json:"server_peak_rss,omitempty"`
	// BrokerCPU are the CPU seconds of the Kafka broker that a run has used, Outputs the
	// records it has written there, and FirstOutput the seconds from its start after a kill
	// to its first new one. Zeros are of runs without Kafka, or without a kill.
	BrokerCPU   float64 `json:"broker_cpu_seconds,omitempty"`
	Outputs     int     `json:"outputs,omitempty"`
	FirstOutput float64 `json:"first_output_seconds,omitempty"`
	// Over says which limit ended the run, if one did: "60 s" or "12 GB".
	Over string `json:"over,omitempty"`
	// Error is why the run doesn't count.
	Error string `json:"error,omitempty"`
}

// OK says that the run has ended with the right result.
func (r Run) OK() bool { return r.Over == "" && r.Error == "" }

// Series is all runs of a workload on a peer.
type Series struct {
	Workload string `json:"workload"`
	// Records that the workload reads in all, 0 if it has no such number.
	Records int    `json:"records,omitempty"`
	Peer    string `json:"peer"`
	Runs    []Run  `json:"runs"`
}

// Over is the limit that a run has met, or empty.
func (s Series) Over() string {
	for _, r := range s.Runs {
		if r.Over != "" {
			return r.Over
		}
	}
	return ""
}

// Error is that of the first run that has one.
func (s Series) Error() string {
	for _, r := range s.Runs {
		if r.Error != "" {
			return r.Error
		}
	}
	return ""
}

// Spread is the median of runs and the range they are in.
type Spread struct{ Median, Min, Max float64 }

// Of returns the spread of a value over the runs that are OK, and false if none is.
func (s Series) Of(value func(Run) float64) (Spread, bool) {
	var v []float64
	for _, r := range s.Runs {
		if r.OK() {
			v = append(v, value(r))
		}
	}
	if len(v) == 0 {
		return Spread{}, false
	}
	slices.Sort(v)
	return Spread{Median: (v[len(v)/2] + v[(len(v)-1)/2]) / 2, Min: v[0], Max: v[len(v)-1]}, true
}

// The values of runs that are reported.
var (
	Seconds     = func(r Run) float64 { return r.Seconds }
	CPU         = func(r Run) float64 { return r.CPU }
	Peak        = func(r Run) float64 { return float64(r.Peak) }
	ProgramPeak = func(r Run) float64 { return float64(r.ProgramPeak) }
	ServerPeak  = func(r Run) float64 { return float64(r.ServerPeak) }
	BrokerCPU   = func(r Run) float64 { return r.BrokerCPU }
	Outputs     = func(r Run) float64 { return float64(r.Outputs) }
	FirstOutput = func(r Run) float64 { return r.FirstOutput }
)

// Results are those of a suite.
type Results struct {
	Suite   string            `json:"suite"`
	Started time.Time         `json:"started"`
	Machine Machine           `json:"machine"`
	Command string            `json:"command"`
	Peers   map[string]string `json:"peers"`
	// Does says what each workload does.
	Does   map[string]string `json:"does"`
	Series []Series          `json:"series"`
}

// Find returns the series of a workload on a peer.
func (r *Results) Find(workload string, records int, peer string) (Series, bool) {
	for _, s := range r.Series {
		if s.Workload == workload && s.Records == records && s.Peer == peer {
			return s, true
		}
	}
	return Series{}, false
}
