package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/summerbeam/summerbeam/bench/internal/report"
)

// peer is a program that reads, counts and writes.
type peer struct {
	name, describe string
	// command starts it: it goes on from what there is in dir, which is its own.
	command func(to, dir string) *exec.Cmd
}

// peers are those of the flags.
func (f *flags) peers() ([]peer, error) {
	var out []peer
	for _, name := range f.Peers {
		switch name {
		case "pebble", "rocksdb":
			out = append(out, f.summerbeam(name))
		case report.KafkaBaseline:
			p, err := f.kafkaStreams()
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		default:
			return nil, fmt.Errorf("there is no peer %q, but pebble, rocksdb and %s", name, report.KafkaBaseline)
		}
	}
	return out, nil
}

func (f *flags) summerbeam(store string) peer {
	return peer{
		name:     store,
		describe: "Summerbeam in the program's own process, with a data directory (" + store + "), io/kafkaio with ExactlyOnce",
		command: func(to, dir string) *exec.Cmd {
			args := []string{"--brokers=" + f.Brokers, "--from=" + topicIn, "--to=" + to, "--runner=summerbeam", "--job_name=counts",
				"--summerbeam_store=" + store, "--summerbeam_data_dir=" + dir}
			return exec.Command(f.Counts, append(args, f.Flags...)...)
		},
	}
}

func (f *flags) kafkaStreams() (peer, error) {
	jars, err := filepath.Glob(filepath.Join(f.Streams, "kafka-streams-*.jar"))
	if err == nil && len(jars) != 1 {
		err = fmt.Errorf("%s has no class path of the Kafka Streams program: bench/kafka/streams/build.sh makes it", f.Streams)
	}
	if err != nil {
		return peer{}, err
	}
	version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(jars[0]), "kafka-streams-"), ".jar")
	java, err := exec.Command("java", "-version").CombinedOutput()
	if err != nil {
		return peer{}, errors.New("java is not here: Kafka Streams can't run")
	}
	jvm, _, _ := strings.Cut(string(java), "\n")
	return peer{
		name: report.KafkaBaseline,
		describe: fmt.Sprintf("Kafka Streams %s, %d threads, RocksDB, suppress(untilWindowCloses), exactly_once_v2, commits every second; %s %s",
			version, runtime.NumCPU(), jvm, strings.Join(f.JVM, " ")),
		command: func(to, dir string) *exec.Cmd {
			args := append([]string{"-cp", filepath.Join(f.Streams, "*") + ":" + f.Streams}, f.JVM...)
			return exec.Command("java", append(args, "WindowedCounts", f.Brokers, topicIn, to, dir)...)
		},
	}, nil
}

// process is a peer that runs.
type process struct {
	cmd   *exec.Cmd
	first chan int64 // the time of the first record, ms since the Unix epoch
	ended chan struct{}
	log   string
}

func (p peer) start(to, dir string) (*process, error) {
	log, err := os.OpenFile(dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := p.command(to, dir)
	// In a group of its own, so that it ends with all that it has started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = log
	pr := &process{cmd: cmd, first: make(chan int64, 1), ended: make(chan struct{}), log: log.Name()}
	cmd.Stdout = &firstRecord{to: pr.first}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.name, err)
	}
	go func() {
		_ = cmd.Wait() // It is killed in the end, and that is an error to Wait.
		close(pr.ended)
	}()
	return pr, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) kill() {
	// The group may be gone already, and then there is nothing to do.
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	<-p.ended
}

// maxRSS is the kernel's own peak of a process that has ended, in bytes.
func (p *process) maxRSS() int64 {
	if usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		return usage.Maxrss << 10
	}
	return 0
}

// why is an error with the last of what a process has said.
func (p *process) why(what string) error {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s; its last words: %s", what, log[max(0, len(log)-2000):])
}

// firstRecord is what a process writes to: it looks for "first record at MS".
type firstRecord struct {
	have []byte
	to   chan<- int64
	done bool
}

func (w *firstRecord) Write(b []byte) (int, error) {
	if w.done {
		return len(b), nil
	}
	w.have = append(w.have, b...)
	var ms int64
	if _, after, ok := strings.Cut(string(w.have), "first record at "); ok && strings.Contains(after, "\n") {
		if _, err := fmt.Sscanf(after, "%d", &ms); err == nil {
			w.to <- ms
			w.done, w.have = true, nil
		}
	}
	return len(b), nil
}
