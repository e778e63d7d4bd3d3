package gate

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestShutWaitsForThoseInside(t *testing.T) {
	var g Gate
	for range 2 {
		if !g.Enter() {
			t.Fatal("an open gate refused")
		}
	}
	done := make(chan bool)
	go func() { done <- g.Shut() }()
	for g.Enter() {
		g.Leave()
	}
	g.Leave()
	select {
	case <-done:
		t.Fatal("Shut returned with a call inside")
	case <-time.After(5 * time.Millisecond):
	}
	g.Leave()
	if !<-done {
		t.Fatal("the only Shut was not the first")
	}
	if g.Shut() || g.Enter() {
		t.Fatal("a shut gate is not shut")
	}
}

func TestNobodyInsideAfterShut(t *testing.T) {
	for range 200 {
		var g Gate
		var inside, shut atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for g.Enter() {
					inside.Add(1)
					if shut.Load() != 0 {
						t.Error("inside after Shut returned")
					}
					inside.Add(-1)
					g.Leave()
				}
			})
		}
		var firsts atomic.Int64
		for range 2 {
			wg.Go(func() {
				if g.Shut() {
					firsts.Add(1)
				}
				shut.Store(1)
				if n := inside.Load(); n != 0 {
					t.Errorf("%d inside after Shut", n)
				}
			})
		}
		wg.Wait()
		if firsts.Load() != 1 {
			t.Fatalf("%d calls shut the gate, want 1", firsts.Load())
		}
	}
}

func BenchmarkEnterLeave(b *testing.B) {
	var g Gate
	for b.Loop() {
		g.Enter()
		g.Leave()
	}
}
