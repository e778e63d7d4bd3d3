package coders

import (
	"bytes"
	"testing"
)

func plainElement() []byte {
	b := AppendHeader(nil, 1234, nil, 1, nil)
	return append(b, "\x03key\x05value"...)
}

func TestWindowedPlain(t *testing.T) {
	w := compileWindowed("wv(kv(bytes,lp(secret)),global)")
	b := plainElement()
	for cut := range b {
		if _, err := w.Next(b[:cut], new(Element)); err != ErrShort {
			t.Errorf("first %d of %d bytes: %v, want ErrShort", cut, len(b), err)
		}
	}
	var e Element
	n, err := w.Next(append(b[:len(b):len(b)], "more"...), &e)
	if err != nil || n != len(b) {
		t.Fatalf("Next = %d, %v; want %d", n, err, len(b))
	}
	if e.Timestamp != 1234 || e.NumWindows != 1 || len(e.Windows) != 0 || !bytes.Equal(e.Pane, []byte{PaneNoFiring}) ||
		string(e.Key) != "\x03key" || string(e.Value) != "\x05value" {
		t.Errorf("got %+v", e)
	}
}
