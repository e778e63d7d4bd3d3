package proc

import "time"

const (
	// samplePeriod is how often memory is looked at. A peak that is shorter is missed.
	samplePeriod = 50 * time.Millisecond
	// treeEvery says every how many samples the children are looked for, which
	// reads all of /proc.
	treeEvery = 5
)

// Peak is the most memory that was resident at a time, in bytes.
type Peak struct {
	// Total of all watched trees at the same moment.
	Total int64
	// Each tree's own, in the order of the roots; not at the same moment.
	Each []int64
}

// Sampler watches the memory of process trees.
type Sampler struct {
	roots []int
	limit int64
	over  func(bytes int64)
	stop  chan struct{}
	peak  chan Peak
}

// Watch starts to watch the trees of the roots. If they ever have more than limit
// bytes (0: no limit), over is called once, by another goroutine.
func Watch(limit int64, over func(bytes int64), roots ...int) *Sampler {
	s := &Sampler{roots: roots, limit: limit, over: over, stop: make(chan struct{}), peak: make(chan Peak)}
	go s.run()
	return s
}

// Stop ends the watch.
func (s *Sampler) Stop() Peak {
	close(s.stop)
	return <-s.peak
}

func (s *Sampler) run() {
	tick := time.NewTicker(samplePeriod)
	defer tick.Stop()
	peak := Peak{Each: make([]int64, len(s.roots))}
	trees := make([][]int, len(s.roots))
	told := false
	for n := 0; ; n++ {
		var total int64
		for i, root := range s.roots {
			if n%treeEvery == 0 {
				trees[i] = Tree(root)
			}
			var sum int64
			for _, pid := range trees[i] {
				sum += residentBytes(pid)
			}
			peak.Each[i] = max(peak.Each[i], sum)
			total += sum
		}
		peak.Total = max(peak.Total, total)
		if s.limit > 0 && total > s.limit && !told {
			told = true
			go s.over(total)
		}
		select {
		case <-tick.C:
		case <-s.stop:
			s.peak <- peak
			return
		}
	}
}
