package job

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
)

// testClock returns a clock that goes on by a second each time.
func testClock() func() time.Time {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var mu sync.Mutex
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Second)
		return now
	}
}

// transcript reads all of a history that has ended.
func transcript(t *testing.T, h *history) []string {
	t.Helper()
	var got []string
	err := h.follow(t.Context(), 0, func(e entry, dropped int) error {
		if dropped > 0 {
			got = append(got, fmt.Sprintf("(%d dropped)", dropped))
		}
		got = append(got, messageString(e.response))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestHistoryIsTheSameForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(testClock())
		early := make(chan []string)
		go func() { early <- transcript(t, h) }()
		synctest.Wait()
		h.advance(submitted)
		h.say(message{jobpb.JobMessage_JOB_MESSAGE_WARNING, "careful"})
		synctest.Wait()
		h.advance(started)
		h.advance(started, message{jobpb.JobMessage_JOB_MESSAGE_ERROR, "never said"})
		h.advance(failed, message{jobpb.JobMessage_JOB_MESSAGE_ERROR, "why"})
		h.say(message{jobpb.JobMessage_JOB_MESSAGE_WARNING, "too late"})
		want := []string{"STOPPED", "STARTING", "WARNING: careful", "RUNNING", "ERROR: why", "FAILED"}
		if got := <-early; !slices.Equal(got, want) {
			t.Errorf("early subscriber got %q, want %q", got, want)
		}
		if got := transcript(t, h); !slices.Equal(got, want) {
			t.Errorf("late subscriber got %q, want %q", got, want)
		}
	})
}

func TestHistoryFollowEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(testClock())
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			synctest.Wait()
			cancel()
		}()
		if err := h.follow(ctx, 0, func(entry, int) error { return nil }); err == nil {
			t.Error("follow returned nil before the end")
		}
	})
}

// TestHistoryBounds floods a history: it stays small, and what matters stays in it.
func TestHistoryBounds(t *testing.T) {
	h := newHistory(testClock())
	h.advance(submitted)
	h.advance(started)
	say := func(i jobpb.JobMessage_MessageImportance, n int, text string) {
		for k := range n {
			h.say(message{i, fmt.Sprintf("%s %d", text, k)})
		}
	}
	say(jobpb.JobMessage_JOB_MESSAGE_ERROR, 1, "the cause")
	say(jobpb.JobMessage_JOB_MESSAGE_ERROR, 5*errorCount, "error")
	say(jobpb.JobMessage_JOB_MESSAGE_WARNING, 5*messageCount, "warning")
	say(jobpb.JobMessage_JOB_MESSAGE_WARNING, 10, strings.Repeat("large", messageBytes/10))
	h.advance(failed, message{jobpb.JobMessage_JOB_MESSAGE_ERROR, "the end"})

	if n := len(h.entries); n > messageCount+errorCount+5 {
		t.Errorf("%d entries", n)
	}
	bytes := 0
	for _, e := range h.entries {
		bytes += e.bytes
	}
	if bytes > messageBytes+errorBytes || bytes != h.messages.bytes+h.errors.bytes {
		t.Errorf("%d bytes, counted as %d and %d", bytes, h.messages.bytes, h.errors.bytes)
	}
	got := transcript(t, h)
	for _, want := range []string{"STOPPED", "STARTING", "RUNNING", "ERROR: the cause 0", fmt.Sprintf("ERROR: error %d", 5*errorCount-1), "FAILED"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if n := len(got); got[n-1] != "FAILED" || got[n-2] != "ERROR: the end" {
		t.Errorf("it ends with %.100q", got[n-2:])
	}
	// What is left out is counted, to the last one.
	count := 0
	for _, line := range got {
		var n int
		if _, err := fmt.Sscanf(line, "(%d dropped)", &n); err == nil {
			count += n
		} else {
			count++
		}
	}
	if count != h.nextNum {
		t.Errorf("%d entries are accounted for, there were %d", count, h.nextNum)
	}
}

func TestHistoryConcurrent(t *testing.T) {
	h := newHistory(testClock())
	h.advance(submitted)
	h.advance(started)
	var writers, readers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for k := range 500 {
				h.say(message{text: fmt.Sprint(k)})
			}
		})
		readers.Go(func() {
			at := -1
			_ = h.follow(t.Context(), 0, func(e entry, dropped int) error {
				if e.num != at+1+dropped {
					t.Errorf("entry %d came after %d with %d dropped", e.num, at, dropped)
				}
				at = e.num
				return nil
			})
			if at != h.nextNum-1 {
				t.Errorf("a reader ended at %d of %d", at, h.nextNum)
			}
		})
	}
	writers.Wait()
	h.advance(succeeded)
	readers.Wait()
}

func TestClip(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("ä", 100), "bad\xffbytes", strings.Repeat("\xff", 100)} {
		got := clip(s, 50)
		if !utf8.ValidString(got) || len(got) > 4*50+50 {
			t.Errorf("clip(%q) = %q", s, got)
		}
		if utf8.ValidString(s) && len(s) <= 50 && got != s {
			t.Errorf("clip(%q) = %q", s, got)
		}
	}
	if got := clip("head"+strings.Repeat("x", 1000)+"tail", 20); !strings.HasPrefix(got, "head") || !strings.HasSuffix(got, "tail") {
		t.Errorf("clip lost an end: %q", got)
	}
}
