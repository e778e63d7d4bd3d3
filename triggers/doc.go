// Package triggers says when a group of elements is sent on, and as which pane.
//
// A grouping stage keeps, for each key and window, a buffer of elements and a
// State. It tells a compiled Strategy what happens and asks it what to do:
//
//	if s.Late(w, now) || !s.Element(&st, w, timestamp, now) {
//		// dropped: the window has expired, or its trigger has finished
//	}
//	for more := true; more; {
//		out := s.Decide(&st, w, now)
//		if out.Fire { /* emit the buffer as out.Pane at out.Timestamp */ }
//		if out.Discard { /* clear the buffer */ }
//		if out.Expired { /* delete the state */ }
//		more = out.Fire && !out.Expired
//	}
//	wake, hold := s.Wake(&st, w), s.Hold(&st, w)
//
// Decide alone answers when a clock has reached what Wake asked for. What it does
// depends on the events and not on how often it is called, in which order timers
// are delivered, or how far the watermark jumps at once.
//
// The rules are those of Beam's model (Trigger and WindowingStrategy in
// beam_runner_api.proto) where it has any, and of the Java SDK's runner library,
// which the other runners share, where it has none: ReduceFnRunner, WatermarkHold,
// PaneInfoTracker and the trigger state machines. Where we differ from it a comment
// says so, and why.
//
// Everything here is pure: no I/O, no clock, no goroutines. A Strategy is immutable
// and safe for concurrent use; a State belongs to one caller at a time.
package triggers
