package report

import (
	"fmt"
	"strings"

	"github.com/summerbeam/summerbeam/bench/internal/measure"
)

// Section renders the results of a suite as Markdown, with a chart of the name
// chart if that isn't empty.
func Section(r *measure.Results, chart string) string {
	var b strings.Builder
	machine(&b, r)
	b.WriteString("\n\n")
	if chart != "" {
		fmt.Fprintf(&b, "![Seconds of each workload on each runner](%s)\n\n", chart)
	}
	b.WriteString("| workload | runner | seconds (from - to) | CPU s | peak MB | of it server | to Prism | in CPU |\n|---|---|---|---|---|---|---|---|\n")
	last := ""
	for _, s := range r.Series {
		c := cellsOf(r, s)
		name := title(s.Workload, s.Records)
		if name == last {
			name = ""
		} else {
			last = name
		}
		span := ""
		if c.from != "" {
			span = fmt.Sprintf(" (%s - %s)", c.from, c.to)
		}
		fmt.Fprintf(&b, "| %s | %s | %s%s | %s | %s | %s | %s | %s |\n", name, s.Peer, c.seconds, span, c.cpu, c.peak, c.serverPeak, c.ratio, c.cpuRatio)
	}
	if errs := failures(r); errs != "" {
		b.WriteString("\n" + errs)
	}
	return b.String()
}

// machine says when, how and where the suite has run.
func machine(b *strings.Builder, r *measure.Results) {
	m := r.Machine
	fmt.Fprintf(b, "%s, `%s`", r.Started.UTC().Format("2 January 2006"), r.Command)
	if m.Commit != "" {
		fmt.Fprintf(b, ", commit %s", m.Commit)
	}
	fmt.Fprintf(b, ". %s, %d cores, %.0f GB, Linux %s, %s, Beam %s. Load average at the start: %s.",
		m.CPU, m.Cores, float64(m.Memory)/1e9, m.Kernel, m.Go, m.Beam, m.Load)
}

func failures(r *measure.Results) string {
	var b strings.Builder
	for _, s := range r.Series {
		if e := s.Error(); e != "" {
			fmt.Fprintf(&b, "- %s on %s failed: `%s`\n", title(s.Workload, s.Records), s.Peer, strings.ReplaceAll(firstLine(e), "`", "'"))
		}
	}
	return b.String()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// Replace puts a suite's section into a document, between its two markers, and
// says an error if they aren't there. The rest stays as it is.
func Replace(doc, suite, section string) (string, error) {
	begin, end := fmt.Sprintf("<!-- begin %s -->\n", suite), fmt.Sprintf("<!-- end %s -->", suite)
	i := strings.Index(doc, begin)
	if i < 0 {
		return "", fmt.Errorf("there is no line %q in the document", strings.TrimSpace(begin))
	}
	i += len(begin)
	j := strings.Index(doc[i:], end)
	if j < 0 {
		return "", fmt.Errorf("there is no line %q behind its beginning in the document", end)
	}
	return doc[:i] + section + doc[i+j:], nil
}
