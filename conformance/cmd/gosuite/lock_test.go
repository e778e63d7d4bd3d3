package main

import (
	"context"
	"testing"
	"time"
)

func TestLock(t *testing.T) {
	b := &builder{cache: t.TempDir()}
	unlock, err := b.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if second, err := b.lock(ctx); err == nil {
		second()
		t.Fatal("locked twice")
	}
	unlock()
	unlock, err = b.lock(t.Context())
	if err != nil {
		t.Fatalf("locking what was given free: %v", err)
	}
	unlock()
}
