package engine

import "testing"

type otherWorker struct{ Worker }

func TestCacheTokenChangesWithWhoeverKnowsTheState(t *testing.T) {
	a, b := &otherWorker{}, &otherWorker{}
	var c cacheToken
	steps := []struct {
		on     Worker
		bundle string
		fails  bool
		want   string
	}{
		{on: a, bundle: "1", want: "1"},
		{on: a, bundle: "2", want: "1"},
		{on: b, bundle: "3", want: "3"},
		// What a remembered is older than what b has done since.
		{on: a, bundle: "4", want: "4"},
		// A failed bundle's writes are in the worker's memory, under the old name.
		{on: a, bundle: "5", fails: true, want: "4"},
		{on: a, bundle: "6", want: "6"},
		{on: a, bundle: "7", want: "6"},
	}
	for _, s := range steps {
		if got := c.begin(s.on, s.bundle); got != s.want {
			t.Errorf("bundle %s: token %q, want %q", s.bundle, got, s.want)
		}
		if !s.fails {
			c.end(s.on)
		}
	}
}
