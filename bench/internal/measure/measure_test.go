package measure

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/bench/internal/peer"
)

type noPeer struct{ name string }

func (p noPeer) Name() string                                        { return p.name }
func (noPeer) Describe() string                                      { return "" }
func (noPeer) Start(context.Context, string) (*peer.Instance, error) { return &peer.Instance{}, nil }

func shell(script string, check func([]byte, string) (Said, error)) Workload {
	return Workload{Name: "script", Program: "/bin/sh", Args: func(string) []string { return []string{"-c", script} }, Check: check}
}

func fine([]byte, string) (Said, error) { return Said{}, nil }

func once(t *testing.T, w Workload, l Limits) Run {
	t.Helper()
	r, err := Once(context.Background(), w, noPeer{"p"}, l, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOnce(t *testing.T) {
	limits := Limits{Time: time.Minute}
	r := once(t, shell("sleep 0.2; echo out", func(out []byte, _ string) (Said, error) {
		if string(out) != "out\n" {
			t.Errorf("output is %q", out)
		}
		return Said{}, nil
	}), limits)
	if !r.OK() || r.Seconds < 0.2 || r.Seconds > 30 || r.Peak < 100_000 {
		t.Errorf("a good run: %+v", r)
	}
	if r := once(t, shell("exit 0", func([]byte, string) (Said, error) { return Said{Seconds: 7, CPU: 3}, nil }), limits); r.Seconds != 7 || r.CPU != 3 {
		t.Errorf("what the program says is not taken: %+v", r)
	}
	if r := once(t, shell("echo reason >&2; exit 3", fine), limits); !strings.Contains(r.Error, "reason") {
		t.Errorf("a failed run: %+v", r)
	}
	if r := once(t, shell("exit 0", func([]byte, string) (Said, error) { return Said{}, errors.New("sum") }), limits); r.Error != "wrong result: sum" {
		t.Errorf("a wrong run: %+v", r)
	}
}

func TestLimits(t *testing.T) {
	// The shell's child must end with it.
	mark := filepath.Join(t.TempDir(), "mark")
	r := once(t, shell("(sleep 1; touch "+mark+") & wait", fine), Limits{Time: 100 * time.Millisecond})
	if r.Over != "0 s" || r.OK() {
		t.Errorf("over its time: %+v", r)
	}
	if r := once(t, shell("sleep 30", fine), Limits{Time: time.Minute, Memory: 1000}); r.Over == "" || r.Seconds > 20 {
		t.Errorf("over its memory: %+v", r)
	}
	time.Sleep(1200 * time.Millisecond)
	if _, err := os.Stat(mark); err == nil {
		t.Error("a child of the program lives on after its end")
	}
}

func TestAlternate(t *testing.T) {
	var order []string
	w := shell("exit 0", fine)
	w.Only = []string{"a", "b"}
	peers := []peer.Peer{noPeer{"a"}, noPeer{"other"}, noPeer{"b"}}
	series, err := Alternate(context.Background(), w, peers, 2, Limits{Time: time.Minute}, func(p string, _ Run) { order = append(order, p) })
	if err != nil || len(series) != 2 || len(series[0].Runs) != 2 || strings.Join(order, "") != "abab" {
		t.Errorf("order %v, %+v, %v", order, series, err)
	}
	// What fails once isn't run again.
	order = nil
	if _, err := Alternate(context.Background(), shell("exit 1", fine), peers[:1], 3, Limits{Time: time.Minute}, func(p string, _ Run) { order = append(order, p) }); err != nil || len(order) != 1 {
		t.Errorf("runs %v, %v", order, err)
	}
}

func TestSpread(t *testing.T) {
	s := Series{Runs: []Run{{Seconds: 5}, {Seconds: 1}, {Seconds: 2}, {Seconds: 100, Error: "x"}, {Seconds: 4}}}
	if got, ok := s.Of(Seconds); !ok || got != (Spread{Median: 3, Min: 1, Max: 5}) {
		t.Errorf("have %+v", got)
	}
	if _, ok := (Series{Runs: []Run{{Over: "1 s"}}}).Of(Seconds); ok {
		t.Error("there is a median of nothing")
	}
}
