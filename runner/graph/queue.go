package graph

import "container/heap"

// queue is a priority queue: pop returns the lowest element.
type queue[T any] struct{ items items[T] }

func newQueue[T any](compare func(a, b T) int) *queue[T] {
	return &queue[T]{items[T]{compare: compare}}
}

func (q *queue[T]) Len() int { return len(q.items.list) }
func (q *queue[T]) push(x T) { heap.Push(&q.items, x) }
func (q *queue[T]) pop() T   { return heap.Pop(&q.items).(T) }

// items implements heap.Interface.
type items[T any] struct {
	list    []T
	compare func(a, b T) int
}

func (h *items[T]) Len() int           { return len(h.list) }
func (h *items[T]) Less(i, j int) bool { return h.compare(h.list[i], h.list[j]) < 0 }
func (h *items[T]) Swap(i, j int)      { h.list[i], h.list[j] = h.list[j], h.list[i] }
func (h *items[T]) Push(x any)         { h.list = append(h.list, x.(T)) }
func (h *items[T]) Pop() any {
	last := len(h.list) - 1
	x := h.list[last]
	h.list = h.list[:last]
	return x
}
