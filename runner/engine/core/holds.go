package core

import "container/heap"

// holds is a multiset of event times with its minimum at hand. Adding and
// removing cost O(log n) in the number of distinct times; nothing is ever scanned.
type holds struct {
	count map[int64]int
	// times has every key of count, and perhaps times whose count has gone to
	// zero: those are dropped when they come to the top.
	times timeHeap
}

func newHolds() holds { return holds{count: make(map[int64]int)} }

func (h *holds) add(t int64) {
	n, queued := h.count[t]
	h.count[t] = n + 1
	if !queued {
		heap.Push(&h.times, t)
	}
}

// remove takes one t out. It reports false if there is none.
func (h *holds) remove(t int64) bool {
	if h.count[t] == 0 {
		return false
	}
	h.count[t]--
	for len(h.times) > 0 && h.count[h.times[0]] == 0 {
		delete(h.count, heap.Pop(&h.times).(int64))
	}
	return true
}

// min returns the least time, MaxTime if there is none.
func (h *holds) min() int64 {
	if len(h.times) == 0 {
		return MaxTime
	}
	return h.times[0]
}

type timeHeap []int64

func (h timeHeap) Len() int           { return len(h) }
func (h timeHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h timeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timeHeap) Push(x any)        { *h = append(*h, x.(int64)) }
func (h *timeHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
