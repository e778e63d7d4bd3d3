package proc

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const line = "4711 (a (bad) name) S 4242 4711 4711 0 -1 4194560 100 0 0 0 150 50 7 3 20 0 9 0 1000 100000 300 18446744073709551615"
	s, err := parseStat([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	if want := (stat{pid: 4711, parent: 4242, cpu: 2100 * time.Millisecond}); s != want {
		t.Errorf("have %+v, want %+v", s, want)
	}
	for _, bad := range []string{"", "1", "1 (a", "1 (a) S 2", "x (a) S 1 1 1 0 -1 1 1 0 0 0 1 1 1 1 1 1", "1 (a) S 1 1 1 0 -1 1 1 0 0 0 x 1 1 1 1 1"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestTreeAndPeak(t *testing.T) {
	if _, err := os.Stat("/proc/self/statm"); err != nil {
		t.Skip("no /proc here")
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	if tree := Tree(os.Getpid()); !slices.Contains(tree, cmd.Process.Pid) || tree[0] != os.Getpid() {
		t.Errorf("the tree %v lacks this process or its child", tree)
	}
	over := make(chan int64, 1)
	w := Watch(1, func(n int64) { over <- n }, os.Getpid(), cmd.Process.Pid)
	if n := <-over; n <= 1 {
		t.Errorf("over the limit of 1 with %d", n)
	}
	p := w.Stop()
	if p.Each[1] <= 0 || p.Total < p.Each[0] || p.Each[0] <= p.Each[1] {
		t.Errorf("peaks %+v: the child's must be in its parent's and the total", p)
	}
	if Tree(1<<30) != nil {
		t.Error("a process that isn't there has a tree")
	}
}

func TestCPU(t *testing.T) {
	if _, err := os.Stat("/proc/self/statm"); err != nil {
		t.Skip("no /proc here")
	}
	before := CPU(os.Getpid())
	deadline := time.Now().Add(10 * time.Second)
	for CPU(os.Getpid()) < before+50*time.Millisecond {
		if time.Now().After(deadline) {
			t.Fatal("no CPU time is counted")
		}
	}
}
