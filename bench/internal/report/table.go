// Package report shows the results of benchmarks: as text, as Markdown and as a
// chart.
package report

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/summerbeam/summerbeam/bench/internal/measure"
)

// Baseline is the peer whose times the others' are compared with.
const Baseline = "prism"

// Table writes the series of one workload as text.
func Table(w io.Writer, r *measure.Results, workload string, records int) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "%s\tseconds\tfrom\tto\tCPU s\tpeak MB\tserver MB\tto Prism\tin CPU\t\n", title(workload, records))
	for _, s := range r.Series {
		if s.Workload != workload || s.Records != records {
			continue
		}
		c := cellsOf(r, s)
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", s.Peer, c.seconds, c.from, c.to, c.cpu, c.peak, c.serverPeak, c.ratio, c.cpuRatio)
	}
	return tw.Flush()
}

func title(workload string, records int) string {
	if records == 0 {
		return workload
	}
	return fmt.Sprintf("%s, %s", workload, count(records))
}

// count writes a number of records as people say it.
func count(n int) string {
	if n >= 1_000_000 && n%100_000 == 0 {
		return fmt.Sprintf("%g M", float64(n)/1e6)
	}
	if n >= 1_000 && n%1_000 == 0 {
		return fmt.Sprintf("%d k", n/1_000)
	}
	return fmt.Sprint(n)
}

// cells are what is shown of a series. Those that there are no numbers for are
// empty.
type cells struct {
	seconds, from, to, cpu, peak, serverPeak, ratio, cpuRatio string
}

func cellsOf(r *measure.Results, s measure.Series) cells {
	if e := s.Error(); e != "" {
		return cells{seconds: "failed"}
	}
	if o := s.Over(); o != "" {
		return cells{seconds: "over " + o, ratio: ratio(r, s)}
	}
	t, ok := s.Of(measure.Seconds)
	if !ok {
		return cells{seconds: "not run"}
	}
	cpu, _ := s.Of(measure.CPU)
	c := cells{
		seconds: seconds(t.Median), from: seconds(t.Min), to: seconds(t.Max),
		cpu: seconds(cpu.Median), ratio: ratio(r, s), cpuRatio: cpuRatio(r, s),
	}
	if peak, _ := s.Of(measure.Peak); peak.Median > 0 {
		c.peak = megabytes(peak.Median)
	}
	if sp, _ := s.Of(measure.ServerPeak); sp.Median > 0 {
		c.serverPeak = megabytes(sp.Median)
	}
	return c
}

// ratio says how many times as fast as the baseline a series is. If the
// baseline met its time limit that is at least so many times, "> 12".
func ratio(r *measure.Results, s measure.Series) string {
	base, ok := r.Find(s.Workload, s.Records, Baseline)
	if !ok || s.Peer == Baseline {
		return ""
	}
	mine, ok := s.Of(measure.Seconds)
	if !ok || s.Over() != "" {
		return ""
	}
	if t, ok := base.Of(measure.Seconds); ok && base.Over() == "" {
		return times(t.Median / mine.Median)
	}
	var limit float64
	if _, err := fmt.Sscanf(base.Over(), "%f s", &limit); err != nil {
		return ""
	}
	return "> " + times(limit/mine.Median)
}

// cpuRatio says how many times as much CPU the baseline needs. Other work on the
// machine distorts it less than times.
func cpuRatio(r *measure.Results, s measure.Series) string {
	base, ok := r.Find(s.Workload, s.Records, Baseline)
	if !ok || s.Peer == Baseline {
		return ""
	}
	mine, ok := s.Of(measure.CPU)
	if !ok || mine.Median == 0 {
		return ""
	}
	if theirs, ok := base.Of(measure.CPU); ok && base.Over() == "" {
		return times(theirs.Median / mine.Median)
	}
	// What it had used when it was cut.
	for _, run := range base.Runs {
		if run.Over != "" && run.CPU > mine.Median {
			return "> " + times(run.CPU/mine.Median)
		}
	}
	return ""
}

func times(x float64) string {
	if x < 9.95 {
		return fmt.Sprintf("%.1fx", x)
	}
	return fmt.Sprintf("%.0fx", x)
}

func seconds(x float64) string { return fmt.Sprintf("%.2f", x) }

func megabytes(x float64) string { return fmt.Sprintf("%.0f", x/1e6) }
