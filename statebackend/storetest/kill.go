package storetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/summerbeam/summerbeam/statebackend"
)

// killDir tells the test's second process which store to write.
const killDir = "STORETEST_KILL_DIR"

// Kill writes synced batches in another process, ends it by SIGKILL in the
// middle, and wants every batch it acknowledged, whole. Again and again on
// the same directory: recovery is part of what is killed. It runs the test
// binary's test of the caller's name a second time.
//
// The operating system lives on, so this finds a batch acknowledged before it
// was handed over, and half batches, not a missing sync.
func Kill(t *testing.T, open statebackend.Opener) {
	if dir := os.Getenv(killDir); dir != "" {
		writeUntilKilled(t, open, dir)
		return
	}
	dir := filepath.Join(t.TempDir(), "store")
	var last uint64
	for round := range 6 {
		acked := killOnce(t, dir, last, 20+round*97)
		s, err := open(dir, statebackend.Options{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		got, err := LedgerState(s)
		if err != nil || got < acked {
			t.Fatalf("round %d: the store is at batch %d after %d was acknowledged: %v", round, got, acked, err)
		}
		t.Logf("round %d: killed after batch %d, the store has %d", round, acked, got)
		must(t, s.Close())
		last = got
	}
}

// killOnce starts the writer, kills it once it acknowledged n more batches than
// last, and returns the last batch acknowledged.
func killOnce(t *testing.T, dir string, last uint64, n int) uint64 {
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	cmd.ExtraFiles = []*os.File{w}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	w.Close()
	acked := last
	var num [8]byte
	for i := 0; ; i++ {
		if i == n {
			must(t, cmd.Process.Kill())
		}
		// What is in the pipe when it dies was acknowledged too.
		if _, err := io.ReadFull(r, num[:]); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		acked = binary.LittleEndian.Uint64(num[:])
	}
	cmd.Wait()
	if acked < last+uint64(n) {
		t.Fatalf("the writer ended by itself at batch %d:\n%s", acked, out.Bytes())
	}
	return acked
}

func writeUntilKilled(t *testing.T, open statebackend.Opener, dir string) {
	ack := os.NewFile(3, "acknowledgements")
	s, err := open(dir, statebackend.Options{WriteBufferBytes: 1 << 20})
	must(t, err)
	n, err := LedgerState(s)
	must(t, err)
	b := s.NewBatch()
	for {
		n++
		b.Reset()
		LedgerBatch(b, n)
		must(t, s.Write(b, true))
		_, err := ack.Write(binary.LittleEndian.AppendUint64(nil, n))
		must(t, err)
	}
}
