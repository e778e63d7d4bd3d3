package job

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Bounds of one job's message log. Errors have bounds of their own, lest a
// stream of warnings should wash them away. State changes, at most six and three for each
// pause, are never dropped.
const (
	messageCount = 1000
	messageBytes = 1 << 20
	errorCount   = 200
	errorBytes   = 4 << 20
	// textBytes bounds one message, well below what gRPC clients take (4 MiB).
	textBytes = 1 << 20
)

// history is what happened to a job, state changes and messages, in order. A
// subscriber reads it from any place on and is woken when it grows; it ends with
// the terminal state. So late subscribers see what early ones saw, and a client that
// goes away leaves nothing to clean up.
type history struct {
	clock func() time.Time

	mu       sync.Mutex
	state    jobpb.JobState_Enum // changes through advance only
	entries  []entry             // by number; dropped messages leave gaps
	nextNum  int                 // the number of the next entry
	messages tally
	errors   tally
	grown    chan struct{} // closed and replaced when an entry is added
}

// entry is one event of a history.
type entry struct {
	num int
	// state is set for a state change, nil for a message.
	state    *jobpb.JobStateEvent
	response *jobpb.JobMessagesResponse
	isError  bool
	bytes    int
}

// tally is the size of one class of messages.
type tally struct{ count, bytes int }

// message is a line for the user.
type message struct {
	importance jobpb.JobMessage_MessageImportance
	text       string
}

// newHistory returns the history of a job that was just prepared.
func newHistory(clock func() time.Time) *history {
	h := &history{clock: clock, state: jobpb.JobState_STOPPED, grown: make(chan struct{})}
	h.addState()
	return h
}

// advance lets e happen to the job, and returns its state after that and
// whether anything changed. Only then are messages added, in front of the new state:
// both SDKs take the last error before FAILED for the job's failure.
func (h *history) advance(e event, messages ...message) (jobpb.JobState_Enum, bool) {
	_, to, ok := h.advanceFrom(e, messages...)
	return to, ok
}

// advanceFrom is advance, and tells the state before, too.
func (h *history) advanceFrom(e event, messages ...message) (from, to jobpb.JobState_Enum, changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from = h.state
	to, ok := next(from, e)
	if !ok {
		return from, from, false
	}
	for _, m := range messages {
		h.addMessage(m)
	}
	h.state = to
	h.addState()
	h.wake()
	return from, to, true
}

// say adds a message, unless the job has ended.
func (h *history) say(m message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if terminal(h.state) {
		return
	}
	h.addMessage(m)
	h.wake()
}

// now returns the state, with those that the Job API doesn't know.
func (h *history) now() jobpb.JobState_Enum {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// current returns the latest state change.
func (h *history) current() entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.entries) - 1; ; i-- {
		// The first entry is a state and stays.
		if h.entries[i].state != nil {
			return h.entries[i]
		}
	}
}

// read returns entries numbered from on, not too many at once. If there are none
// ended says that none will come; else grown is closed when there are more.
func (h *history) read(from int) (batch []entry, ended bool, grown <-chan struct{}) {
	const most = 100
	h.mu.Lock()
	defer h.mu.Unlock()
	i, _ := slices.BinarySearchFunc(h.entries, from, func(e entry, num int) int { return cmp.Compare(e.num, num) })
	batch = slices.Clone(h.entries[i:min(i+most, len(h.entries))])
	return batch, len(batch) == 0 && terminal(h.state), h.grown
}

// The functions below are called with mu held.

func (h *history) wake() {
	close(h.grown)
	h.grown = make(chan struct{})
}

func (h *history) addState() {
	ev := &jobpb.JobStateEvent{State: shown(h.state), Timestamp: timestamppb.New(h.clock())}
	h.add(entry{state: ev, response: &jobpb.JobMessagesResponse{
		Response: &jobpb.JobMessagesResponse_StateResponse{StateResponse: ev},
	}})
}

func (h *history) addMessage(m message) {
	text := clip(m.text, textBytes)
	e := entry{
		isError: m.importance == jobpb.JobMessage_JOB_MESSAGE_ERROR,
		bytes:   len(text),
		response: &jobpb.JobMessagesResponse{Response: &jobpb.JobMessagesResponse_MessageResponse{
			MessageResponse: &jobpb.JobMessage{
				MessageId:   strconv.Itoa(h.nextNum),
				Time:        h.clock().UTC().Format(time.RFC3339Nano),
				Importance:  m.importance,
				MessageText: text,
			},
		}},
	}
	h.add(e)
	if e.isError {
		h.errors.add(e)
		h.trim(&h.errors, true, errorCount, errorBytes)
	} else {
		h.messages.add(e)
		h.trim(&h.messages, false, messageCount, messageBytes)
	}
}

func (h *history) add(e entry) {
	e.num = h.nextNum
	h.nextNum++
	h.entries = append(h.entries, e)
}

// trim drops the oldest messages of a class that is over its bounds, until it
// is a quarter below them, so that the work is done once in many messages. The newest
// stays, and so does the first error, which is often the others' cause.
func (h *history) trim(t *tally, isError bool, count, bytes int) {
	if t.count <= count && t.bytes <= bytes {
		return
	}
	first := isError
	kept := h.entries[:0]
	for i, e := range h.entries {
		over := t.count > count*3/4 || t.bytes > bytes*3/4
		mine := e.state == nil && e.isError == isError
		if mine && first {
			first, mine = false, false
		}
		if mine && over && i < len(h.entries)-1 {
			t.count--
			t.bytes -= e.bytes
			continue
		}
		kept = append(kept, e)
	}
	clear(h.entries[len(kept):])
	h.entries = kept
}

func (t *tally) add(e entry) {
	t.count++
	t.bytes += e.bytes
}

// clip returns s as valid UTF-8, which protobuf insists on, and not much longer
// than limit: of a longer text the beginning and the end are kept, where a
// traceback says what failed.
func clip(s string, limit int) string {
	if len(s) > limit {
		half := limit / 2
		s = s[:half] + fmt.Sprintf("\n... (%d bytes left out) ...\n", len(s)-2*half) + s[len(s)-half:]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
