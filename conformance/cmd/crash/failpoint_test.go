package main

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

// TestFailPoints: the store kills at its point, the nth time, and at no other.
func TestFailPoints(t *testing.T) {
	for _, tc := range []struct {
		point string
		n     int
		want  []string // what was done when it was killed
	}{
		{"written", 2, []string{"write", "get", "write"}},
		{"recovery", 1, []string{"write", "get"}},
		{"recovery", 2, []string{"write", "get", "write", "get"}},
	} {
		inner, err := memstore.NewDisk(nil).Open("job", statebackend.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var did []string
		killed := ""
		st := &failing{Store: inner, point: tc.point, left: tc.n, kill: func(p string) { killed = p }}
		for range 3 {
			b := st.NewBatch()
			b.Put([]byte("k"), []byte("v"))
			did = append(did, "write")
			if _ = st.Write(b, true); killed != "" {
				break
			}
			did = append(did, "get")
			if _, _, _ = st.Get(nil, []byte("k")); killed != "" {
				break
			}
		}
		if killed != tc.point || !slices.Equal(did, tc.want) {
			t.Errorf("%s:%d: killed at %q after %v, want it after %v", tc.point, tc.n, killed, did, tc.want)
		}
	}
}

// TestTheProcessIsKilledInTheWrite: the write goes on while the kill is on its way, and
// its caller never hears of its end.
func TestTheProcessIsKilledInTheWrite(t *testing.T) {
	inner, err := memstore.NewDisk(nil).Open("job", statebackend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	killed, returned := make(chan string, 1), make(chan bool, 1)
	st := &failing{Store: inner, point: "write", left: 1, kill: func(p string) { killed <- p }}
	go func() {
		_ = st.Write(st.NewBatch(), true)
		returned <- true
	}()
	if p := <-killed; p != "write" {
		t.Errorf("killed at %q", p)
	}
	select {
	case <-returned:
		t.Error("the write was acknowledged")
	default:
	}
}

func TestPointsOfTheDriver(t *testing.T) {
	seen := map[string]bool{}
	random := rand.New(rand.NewPCG(1, 1))
	for killed := 1; killed < 50; killed += 2 {
		name, n, err := parsePoint(choosePoint(killed, random))
		if err != nil || n < 1 {
			t.Fatal(err)
		}
		seen[name] = true
	}
	if len(seen) != len(points) {
		t.Errorf("chosen are %v, want all of %v", seen, points)
	}
	for _, bad := range []string{"", "write", "write:0", "write:x", "lunch:1"} {
		if _, _, err := parsePoint(bad); err == nil {
			t.Errorf("%q is taken for a point", bad)
		}
	}
	if got := killedAt("said\ncrash: killed at point written\nmore"); got != "written" {
		t.Errorf("got %q", got)
	}
}

// TestDuplicatesMustBeFound, or a check that finds the numbers right shows nothing.
func TestDuplicatesMustBeFound(t *testing.T) {
	const each = 3
	o := &output{all: wanted(each)}
	if err := o.findDuplicates(each); err == nil || !strings.Contains(err.Error(), "no kill came between") {
		t.Errorf("without duplicates: %v", err)
	}
	for label := range o.all {
		o.all[label]++
		break
	}
	if err := o.findDuplicates(each); err != nil {
		t.Errorf("with a duplicate: %v", err)
	}
}
