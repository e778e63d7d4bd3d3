// Package proc reads from Linux's /proc what processes and their children use.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU times in /proc: Linux has fixed it for programs,
// whatever its own clock does.
const clockTick = 10 * time.Millisecond

// stat is what this package needs of /proc/PID/stat.
type stat struct {
	pid, parent int
	// cpu is the process's, and that of its children that have ended and were waited for.
	cpu time.Duration
}

// parseStat parses a line of /proc/PID/stat. The second field is the program's
// name in parentheses and may hold anything, parentheses and spaces too.
func parseStat(line []byte) (stat, error) {
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return stat{}, fmt.Errorf("no process's stat: %.80q", line)
	}
	// fields[0] is the third of the line, the state.
	fields := strings.Fields(string(line[end+1:]))
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("too short for a process's stat: %.80q", line)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:open])))
	if err != nil {
		return stat{}, fmt.Errorf("no process's stat: %.80q", line)
	}
	s := stat{pid: pid}
	if s.parent, err = strconv.Atoi(fields[1]); err != nil {
		return stat{}, fmt.Errorf("no parent in %.80q", line)
	}
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("no CPU time in %.80q", line)
		}
		s.cpu += time.Duration(ticks) * clockTick
	}
	return s, nil
}

func readStat(pid int) (stat, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(line)
}

// residentBytes is the process's RSS, 0 if it has ended.
func residentBytes(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// Tree returns the process and all its descendants that live.
func Tree(root int) []int {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	alive := false
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		s, err := readStat(pid)
		if err != nil {
			continue // It has ended meanwhile.
		}
		alive = alive || pid == root
		children[s.parent] = append(children[s.parent], pid)
	}
	if !alive {
		return nil
	}
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree
}

// CPU is the CPU time that the process and its descendants have used so far.
// Descendants that nobody has waited for are lost once they have ended.
func CPU(root int) time.Duration {
	var sum time.Duration
	for _, pid := range Tree(root) {
		if s, err := readStat(pid); err == nil {
			sum += s.cpu
		}
	}
	return sum
}
