package runner

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/summerbeam/summerbeam/runner/engine"
)

// live are the executions that run at the moment.
type live struct {
	runningMu sync.Mutex
	running   map[*execution]bool
}

func (l *live) add(e *execution) {
	l.runningMu.Lock()
	defer l.runningMu.Unlock()
	if l.running == nil {
		l.running = make(map[*execution]bool)
	}
	l.running[e] = true
}

func (l *live) remove(e *execution) {
	l.runningMu.Lock()
	defer l.runningMu.Unlock()
	delete(l.running, e)
}

func (l *live) all() []*execution {
	l.runningMu.Lock()
	defer l.runningMu.Unlock()
	var out []*execution
	for e := range l.running {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *execution) int { return cmp.Compare(a.info.ID, b.info.ID) })
	return out
}

// collector gives Prometheus what a server and its running jobs hold and have done.
type collector struct{ jobs *jobs }

var (
	jobLabels   = []string{"job", "name"}
	memoryLimit = prometheus.NewDesc("summerbeam_memory_limit_bytes", "The budget for data in memory.", nil, nil)
	memoryUsed  = prometheus.NewDesc("summerbeam_memory_used_bytes", "Data in memory, of all jobs.", nil, nil)
	jobMemory   = prometheus.NewDesc("summerbeam_job_memory_bytes",
		"Data that a job has in memory, by what for: queue, outputs, grouping, side_inputs, rendered, state, cache.", append([]string{"kind"}, jobLabels...), nil)
	jobSpilled  = prometheus.NewDesc("summerbeam_job_spilled_bytes", "Data that a job has on disk for want of memory, and needs.", jobLabels, nil)
	jobSpill    = prometheus.NewDesc("summerbeam_job_spill_written_bytes_total", "All data that a job has written to disk for want of memory.", jobLabels, nil)
	jobBundles  = prometheus.NewDesc("summerbeam_job_bundles_total", "Bundles applied.", jobLabels, nil)
	jobElements = prometheus.NewDesc("summerbeam_job_elements_total", "Elements of the bundles applied.", jobLabels, nil)
	jobRetries  = prometheus.NewDesc("summerbeam_job_retries_total", "Bundles that failed and were run again.", jobLabels, nil)
	jobLate     = prometheus.NewDesc("summerbeam_job_late_elements_total", "Elements dropped because they came later than allowed.", jobLabels, nil)
	jobLetters  = prometheus.NewDesc("summerbeam_job_dead_letters_total", "Elements put aside because they failed each time.", jobLabels, nil)
	jobDiskFull = prometheus.NewDesc("summerbeam_job_disk_full", "1 while a job waits for room on its disk.", jobLabels, nil)
	jobPaused   = prometheus.NewDesc("summerbeam_job_paused", "1 while a job waits to be resumed or corrected, because it can't process what it has.", jobLabels, nil)
	jobEpochs   = prometheus.NewDesc("summerbeam_job_epochs_total", "Epochs written.", jobLabels, nil)
	jobEpochSec = prometheus.NewDesc("summerbeam_job_epoch_seconds_total", "Time that writing epochs took.", jobLabels, nil)
	jobEpochLen = prometheus.NewDesc("summerbeam_job_epoch_bytes_total", "Bytes of the epochs written.", jobLabels, nil)
	jobEpochAge = prometheus.NewDesc("summerbeam_job_epoch_age_seconds", "Time since the last epoch was durable. A job that changes nothing writes none.", jobLabels, nil)
	jobEpochLag = prometheus.NewDesc("summerbeam_job_epoch_lag_seconds", "Age of the oldest change that no durable epoch has: what a crash would undo. 0 if there is none. For jobs that outlive their process.", jobLabels, nil)
	jobRunning  = prometheus.NewDesc("summerbeam_job_running_bundles", "Bundles at work.", jobLabels, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{memoryLimit, memoryUsed, jobMemory, jobSpilled, jobSpill, jobBundles, jobElements, jobRetries, jobRunning,
		jobLate, jobLetters, jobDiskFull, jobPaused, jobEpochs, jobEpochSec, jobEpochLen, jobEpochAge, jobEpochLag} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	total := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	budget := c.jobs.cfg.Engine.Memory
	gauge(memoryLimit, budget.Limit())
	gauge(memoryUsed, budget.Used())
	paused := c.jobs.homes.allPaused()
	for _, p := range paused {
		gauge(jobPaused, 1, p.id, p.name)
	}
	for _, e := range c.jobs.live.all() {
		id, name := e.info.ID, e.info.Name
		u := e.Memory()
		for _, k := range memoryKinds(u) {
			gauge(jobMemory, k.bytes, k.name, id, name)
		}
		gauge(jobSpilled, u.Disk, id, name)
		total(jobSpill, u.Written, id, name)
		p := e.Progress()
		total(jobBundles, p.Bundles, id, name)
		total(jobElements, p.Elements, id, name)
		total(jobRetries, p.Retries, id, name)
		gauge(jobRunning, p.Running, id, name)
		total(jobLate, p.Late, id, name)
		total(jobLetters, p.DeadLetters, id, name)
		full := int64(0)
		if p.DiskFull {
			full = 1
		}
		gauge(jobDiskFull, full, id, name)
		if !slices.ContainsFunc(paused, func(p pausedHome) bool { return p.id == id }) {
			gauge(jobPaused, 0, id, name)
		}
		total(jobEpochs, p.Epochs, id, name)
		total(jobEpochLen, p.EpochBytes, id, name)
		ch <- prometheus.MustNewConstMetric(jobEpochSec, prometheus.CounterValue, p.EpochTime.Seconds(), id, name)
		if e.Outlives() {
			ch <- prometheus.MustNewConstMetric(jobEpochLag, prometheus.GaugeValue, lag(p, time.Now()).Seconds(), id, name)
		}
		if !p.LastEpoch.IsZero() {
			ch <- prometheus.MustNewConstMetric(jobEpochAge, prometheus.GaugeValue, time.Since(p.LastEpoch).Seconds(), id, name)
		}
	}
}

// lag is how old the oldest change is that a crash would undo.
func lag(p engine.Progress, now time.Time) time.Duration {
	if p.Undurable.IsZero() {
		return 0
	}
	return now.Sub(p.Undurable)
}

type memoryKind struct {
	name  string
	bytes int64
}

func memoryKinds(u engine.Usage) []memoryKind {
	return []memoryKind{
		{"queue", u.Queue}, {"outputs", u.Outputs}, {"grouping", u.Grouping}, {"side_inputs", u.SideInputs},
		{"rendered", u.Rendered}, {"state", u.State}, {"cache", u.Cache},
	}
}
