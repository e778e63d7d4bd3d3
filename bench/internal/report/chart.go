package report

import (
	"fmt"
	"html"
	"math"
	"strings"

	"github.com/summerbeam/summerbeam/bench/internal/measure"
)

// Measures of the chart, in pixels.
const (
	chartLeft   = 170
	chartPlot   = 560
	chartRight  = 130
	chartTop    = 60
	barHeight   = 13
	barGap      = 2
	groupGap    = 14
	chartBottom = 30
)

// palette is one colour for each peer, in their order; readable for the colour-blind.
var palette = []string{"#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#999999", "#009e73", "#cc79a7"}

// Chart draws how long each workload takes on each peer as bars of an SVG, on a
// logarithmic scale: runners differ by a hundred times.
func Chart(r *measure.Results) string {
	groups, peers := chartGroups(r)
	low, high := chartRange(groups)
	x := func(sec float64) float64 {
		return chartPlot * (math.Log10(max(sec, low)) - math.Log10(low)) / (math.Log10(high) - math.Log10(low))
	}
	height := chartTop + chartBottom
	for _, g := range groups {
		height += len(g.bars)*(barHeight+barGap) + groupGap
	}
	var b strings.Builder
	width := chartLeft + chartPlot + chartRight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text x="10" y="20" font-size="14">Seconds, logarithmic: shorter is faster. Grey ends: the run was cut there.</text>`+"\n")
	for i, p := range peers {
		at := 10 + i*135
		fmt.Fprintf(&b, `<rect x="%d" y="32" width="12" height="12" fill="%s"/><text x="%d" y="43">%s</text>`+"\n", at, colour(i), at+17, html.EscapeString(p))
	}
	for tick := low; tick <= high*1.001; tick *= 10 {
		at := chartLeft + x(tick)
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle" fill="#555">%g</text>`+"\n",
			at, chartTop-6, at, height-chartBottom, at, height-chartBottom+16, roundTick(tick))
	}
	y := chartTop
	for _, g := range groups {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", chartLeft-8, y+len(g.bars)*(barHeight+barGap)/2+4, html.EscapeString(g.name))
		for _, bar := range g.bars {
			w := max(x(bar.seconds), 1)
			label := fmt.Sprintf("%.3g", bar.seconds)
			if bar.seconds >= 100 {
				label = fmt.Sprintf("%.0f", bar.seconds)
			}
			if bar.over {
				label = "over " + label
			}
			if bar.ratio != "" {
				label += " (" + bar.ratio + ")"
			}
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, chartLeft, y, w, barHeight, colour(bar.peer))
			if bar.over {
				fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="10" height="%d" fill="#bbb"/>`, chartLeft+w, y, barHeight)
				w += 10
			}
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" font-size="11">%s</text>`+"\n", chartLeft+w+4, y+barHeight-2, html.EscapeString(label))
			y += barHeight + barGap
		}
		y += groupGap
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func colour(i int) string { return palette[i%len(palette)] }

func roundTick(x float64) float64 { return math.Round(x*1e6) / 1e6 }

type bar struct {
	peer    int
	seconds float64
	over    bool
	ratio   string
}

type group struct {
	name string
	bars []bar
}

// chartGroups are the bars of each workload, and the peers they are of.
func chartGroups(r *measure.Results) (groups []group, peers []string) {
	number := map[string]int{}
	for _, s := range r.Series {
		b := bar{ratio: ratio(r, s)}
		if t, ok := s.Of(measure.Seconds); ok {
			b.seconds = t.Median
		}
		if o := s.Over(); o != "" {
			var limit float64
			if _, err := fmt.Sscanf(o, "%f s", &limit); err != nil {
				continue
			}
			b.seconds, b.over = limit, true
		}
		if b.seconds == 0 {
			continue
		}
		i, ok := number[s.Peer]
		if !ok {
			i = len(peers)
			number[s.Peer] = i
			peers = append(peers, s.Peer)
		}
		b.peer = i
		name := title(s.Workload, s.Records)
		if len(groups) == 0 || groups[len(groups)-1].name != name {
			groups = append(groups, group{name: name})
		}
		g := &groups[len(groups)-1]
		g.bars = append(g.bars, b)
	}
	return groups, peers
}

// chartRange is the powers of ten that all bars lie between.
func chartRange(groups []group) (low, high float64) {
	least, most := 1.0, 1.0
	for _, g := range groups {
		for _, b := range g.bars {
			least, most = min(least, b.seconds), max(most, b.seconds)
		}
	}
	low, high = math.Pow(10, math.Floor(math.Log10(least))), math.Pow(10, math.Ceil(math.Log10(most)))
	if low >= high {
		high = low * 10
	}
	return low, high
}
