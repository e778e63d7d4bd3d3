package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// gaps are the times between outputs. They come every 20 ms if nothing is in the way.
type gaps struct {
	gapsMu sync.Mutex
	last   time.Time
	// longest since the last call of reset, and how many outputs there were.
	longest time.Duration
	count   int
}

func (g *gaps) output(now time.Time) {
	g.gapsMu.Lock()
	defer g.gapsMu.Unlock()
	if !g.last.IsZero() {
		g.longest = max(g.longest, now.Sub(g.last))
	}
	g.last = now
	g.count++
}

// reset returns what there was since the last call.
func (g *gaps) reset() (longest time.Duration, count int) {
	g.gapsMu.Lock()
	defer g.gapsMu.Unlock()
	longest, count = max(g.longest, time.Since(g.last)), g.count
	g.longest, g.count = 0, 0
	return longest, count
}

// driveSave makes savepoints of a job with much state on a server, and says for how long
// nothing came out meanwhile.
func driveSave(keys int64, value int) (err error) {
	dir, err := os.MkdirTemp(*where, "summerbeam-large-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	server := &process{}
	defer server.kill()
	data := filepath.Join(dir, "data")
	if err := server.start(log, data); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "--crash_job", dir, fmt.Sprintf("--large_keys=%d", keys), fmt.Sprintf("--large_value=%d", value),
		"--job_name=large", "--runner=summerbeam", fmt.Sprintf("--summerbeam_bundle_elements=%d", bundleOf(value)), "--endpoint="+server.address)
	cmd.Stderr = log
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var g gaps
	ended, first := make(chan struct{}), make(chan struct{})
	began := sync.OnceFunc(func() { close(first) })
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "output ") {
				g.output(time.Now())
				began()
			}
		}
	}()
	select {
	case <-first:
	case <-ended:
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("the job has ended:\n%s", text)
	}
	const calm = 20 * time.Second
	time.Sleep(5 * time.Second)
	g.reset()
	time.Sleep(calm)
	longest, count := g.reset()
	size, err := sizeOf(data)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %.1f GB in the data directory; %d outputs in %v, the longest gap %v\n", *store, float64(size)/1e9, count, calm, longest.Round(time.Millisecond))
	for range 2 {
		began := time.Now()
		g.reset()
		out, err := exec.Command(*serve, "savepoint", "large", filepath.Join(dir, "saved"), "--endpoint="+server.address, "--keep=1").CombinedOutput()
		longest, count := g.reset()
		if err != nil {
			return fmt.Errorf("savepoint: %w: %s", err, out)
		}
		fmt.Printf("%s: %s", *store, out)
		fmt.Printf("%s: it took %v, %d outputs meanwhile, the longest gap %v\n", *store, time.Since(began).Round(time.Millisecond), count, longest.Round(time.Millisecond))
	}
	text, err := os.ReadFile(log.Name())
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if _, rest, ok := strings.Cut(line, "checkpoint="); ok {
			took, _, _ := strings.Cut(rest, " ")
			fmt.Printf("%s: the store's checkpoint took %s\n", *store, took)
		}
	}
	return nil
}
