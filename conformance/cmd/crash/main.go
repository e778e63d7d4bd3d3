// Crash kills a job with kill -9, again and again, starts it again each time, and checks
// that its output is that of one run which nobody has killed.
//
//	crash [--kills 50] [--seed N] [--dedup=false] [--store pebble|rocksdb] [--server bin/summerbeam] [--kafka [--brokers host:port]]
//
// With --large_keys it measures instead how long a job with much state takes to go on
// (large.go), or with --server for how long savepoints of it hold it up (largesave.go).
//
// With --kafka the job reads a topic, counts by user and minute, and writes each count
// once to another (kafka.go); the broker is a fake in the driver, or a real one.
//
// The job is in pipeline.go. It runs embedded, in a process of this same program, or with
// --server on a server, of which that process is the worker; then one of the two is
// killed, or both. Embedded, every second kill comes at a named point (failpoint.go).
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
)

func reflectType[T any]() reflect.Type { return reflect.TypeFor[T]() }

var (
	job     = flag.String("crash_job", "", "Directory for the output of the job, which this process is then; for the driver's own use.")
	kills   = flag.Int("kills", 50, "How often to kill the job.")
	seed    = flag.Uint64("seed", uint64(time.Now().UnixNano()), "Seed of the times at which it is killed.")
	store   = flag.String("store", "pebble", "State store: pebble, or rocksdb in a program built with that tag.")
	each    = flag.Int64("each", 0, "Elements in each of the source's four parts; 0: as many as the kills will take.")
	rate    = flag.Int64("rate", 4000, "Elements a second in each part.")
	serve   = flag.String("server", "", "Program of the server to run the job on; empty: embedded.")
	kafka   = flag.Bool("kafka", false, "Run the job that reads from and writes to Kafka.")
	brokers = flag.String("brokers", "", "A broker to use instead of a fake one; the driver makes topics there.")
	topics  = flag.String("topics", "", "What the names of the topics begin with; for the driver's own use.")
	crashAt = flag.String("crash_at", "", "Point at which the job kills itself, such as write:3; for the driver's own use.")
	dedup   = flag.Bool("dedup", true, "Leave out records whose number has come before. If false, the run fails unless duplicates are found.")

	largeKeys  = flag.Int64("large_keys", 0, "Measure how long a job with a value and a timer for so many keys takes to go on.")
	largeValue = flag.Int("large_value", 10_000, "Bytes of each value.")
	largeBound = flag.Duration("large_bound", 2*time.Second, "Longest that it may take.")
	where      = flag.String("dir", "", "Where to make the directory; empty: where temporary ones are.")

	keep = flag.Bool("keep", false, "Keep the directory.")
)

func main() {
	flag.Parse()
	beam.Init()
	if *each == 0 {
		// Longer than it can take to kill it so often.
		*each = max(10_000, int64(*kills)**rate*3/2)
	}
	var err error
	switch {
	case *job != "" && *kafka:
		err = runKafka(*brokers, *topics)
	case *job != "" && *largeKeys > 0:
		err = runLarge(*largeKeys, *largeValue)
	case *largeKeys > 0 && *serve != "":
		err = driveSave(*largeKeys, *largeValue)
	case *largeKeys > 0:
		err = driveLarge(*largeKeys, *largeValue, *largeBound)
	case *job != "":
		err = runJob(*job, *each, *rate)
	default:
		err = drive()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

// drive runs the job to its end through all the kills, and checks what it wrote.
func drive() error {
	dir, err := os.MkdirTemp("", "summerbeam-crash-")
	if err != nil {
		return err
	}
	if *keep {
		fmt.Println("directory:", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	fmt.Printf("seed %d, store %s, %d elements\n", *seed, *store, parts**each)
	var k *kafkaRun
	if *kafka {
		if k, err = newKafkaRun(*each); err != nil {
			return err
		}
		defer k.close()
	}
	random := rand.New(rand.NewPCG(*seed, 1))
	server := &process{}
	defer server.kill()
	var first []time.Duration
	killed, resumed := 0, 0
	at := map[string]int{}
	for {
		until, point := time.Duration(0), ""
		if killed < *kills {
			until = 300*time.Millisecond + time.Duration(random.Int64N(int64(1200*time.Millisecond)))
		}
		if killed < *kills && killed%2 == 1 && *serve == "" && k == nil {
			point, until = choosePoint(killed, random), pointTimeout
		}
		var complete func() (bool, error)
		if k != nil && until == 0 {
			complete = k.complete // the job has no end of its own
		}
		r, err := runUntil(dir, until, point, server, random, complete)
		if err != nil {
			return err
		}
		if r.resumed {
			resumed++
			if r.first > 0 {
				first = append(first, r.first)
			}
		}
		if !r.killed || r.complete {
			break
		}
		killed++
		at[r.point]++
	}
	if killed < *kills {
		return fmt.Errorf("the job was done after %d kills, before all %d: give it more elements (--each)", killed, *kills)
	}
	slices.Sort(first)
	fmt.Printf("%d kills: %d at random times", killed, at[""])
	for _, p := range points {
		if *serve == "" && k == nil {
			fmt.Printf(", %d %s", at[p.name], p.what)
			if at[p.name] == 0 && *kills >= 2*len(points) {
				return fmt.Errorf("no kill came %s: this shows nothing of it", p.what)
			}
		}
	}
	fmt.Printf("\n%d runs went on from an epoch", resumed)
	if n := len(first); n > 0 {
		fmt.Printf("; from the start of the process to its first output: median %v, max %v (%d runs came to it)",
			first[n/2], first[n-1], n)
	}
	fmt.Println()
	if k != nil {
		return k.check()
	}
	out, err := readRecords(filepath.Join(dir, "records"))
	if err != nil {
		return err
	}
	if !*dedup {
		return out.findDuplicates(*each)
	}
	return out.check(*each, *kills)
}

// life is one run of the job.
type life struct {
	killed, resumed bool
	// complete says that it was stopped because its output is.
	complete bool
	first    time.Duration
	// point is where it killed itself, empty if it did not.
	point string
}

// pointTimeout is how long a job may take to come to a point; then it is killed anyway.
const pointTimeout = 10 * time.Second

// runUntil runs the job until it ends, or is killed when the time is over (0: never), or
// kills itself at a point (empty: at none).
func runUntil(dir string, until time.Duration, point string, server *process, random *rand.Rand, complete func() (bool, error)) (life, error) {
	self, err := os.Executable()
	if err != nil {
		return life{}, err
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return life{}, err
	}
	defer log.Close()
	from, err := log.Seek(0, 2)
	if err != nil {
		return life{}, err
	}
	data := filepath.Join(dir, "data")
	args := []string{"--crash_job", dir, fmt.Sprintf("--each=%d", *each), fmt.Sprintf("--rate=%d", *rate),
		"--job_name=crash"}
	if point == "" {
		args = append(args, "--runner=summerbeam")
	} else {
		args = append(args, "--runner="+runnerName, "--crash_at="+point, "--store="+*store)
	}
	if *kafka {
		args = append(args, "--kafka", "--brokers="+*brokers, "--topics="+*topics)
	}
	if *serve == "" {
		args = append(args, "--summerbeam_store="+*store, "--summerbeam_data_dir="+data)
	} else {
		if err := server.start(log, data); err != nil {
			return life{}, err
		}
		args = append(args, "--endpoint="+server.address)
	}
	cmd := exec.Command(self, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return life{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var timer <-chan time.Time
	if until > 0 {
		timer = time.After(until)
	}
	var l life
	for complete != nil && !l.complete {
		select {
		case err := <-ended:
			return l, fmt.Errorf("the job has ended: %w", err)
		case <-time.After(300 * time.Millisecond):
		}
		if l.complete, err = complete(); err != nil {
			_ = cmd.Process.Kill()
			<-ended
			return l, err
		}
	}
	if l.complete {
		timer = time.After(0)
	}
	select {
	case err = <-ended:
		var exit *exec.ExitError
		if errors.As(err, &exit) && point != "" {
			if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signal() == syscall.SIGKILL {
				l.killed, err = true, nil
			}
		}
	case <-timer:
		if *serve != "" && random.IntN(3) > 0 {
			server.kill()
			// The worker learns of it, or is killed a moment later.
			time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
		}
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return life{}, err
		}
		err = <-ended
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			ws, ok := exit.Sys().(syscall.WaitStatus)
			if ok && ws.Signaled() || *serve != "" && server.killed() {
				l.killed, err = true, nil
			}
		}
	}
	text, rerr := os.ReadFile(filepath.Join(dir, "log"))
	if rerr != nil {
		return l, rerr
	}
	said := string(text[from:])
	l.point = killedAt(said)
	if err != nil {
		return l, fmt.Errorf("the job failed: %w\n%s", err, said)
	}
	l.resumed = strings.Contains(said, "goes on from its last epoch")
	if _, rest, ok := strings.Cut(said, "first output after "); ok {
		var ms int64
		if _, err := fmt.Sscanf(rest, "%d ms", &ms); err == nil {
			l.first = time.Duration(ms) * time.Millisecond
		}
	}
	return l, nil
}

// output is what the job has written, by shard and number, as often as it came.
type output struct {
	lines int
	at    map[string][]entry // by shard, in order of their numbers
	all   map[string]int64   // counts by label, repeated records and all
	// clashes are numbers that came with different records.
	clashes []string
}

type entry struct {
	label string
	count int64
	seen  bool
}

func readRecords(name string) (*output, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	o := &output{at: make(map[string][]entry), all: make(map[string]int64)}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var shard string
		var seq int64
		var e entry
		if _, err := fmt.Sscanf(lines.Text(), "%s %d %s %d", &shard, &seq, &e.label, &e.count); err != nil {
			return nil, fmt.Errorf("record %q: %w", lines.Text(), err)
		}
		e.seen = true
		o.lines++
		o.all[e.label] += e.count
		for int64(len(o.at[shard])) <= seq {
			o.at[shard] = append(o.at[shard], entry{})
		}
		if old := o.at[shard][seq]; old.seen && old != e {
			o.clashes = append(o.clashes, fmt.Sprintf("%s %d: %v and %v", shard, seq, old, e))
		}
		o.at[shard][seq] = e
	}
	return o, lines.Err()
}

// wanted is what the source's elements must give, by label.
func wanted(each int64) map[string]int64 {
	want := make(map[string]int64)
	for p := range int64(parts) {
		for i := range each {
			key, ms := element(p, i)
			size := windowSize.Milliseconds()
			want[fmt.Sprintf("window/%s/%d", key, ms/size*size+size-1)]++
			want["state/"+key]++
		}
	}
	return want
}

// findDuplicates looks at the output as if its records had no numbers, and fails if it is
// right all the same: then the kills were harmless, and a good check shows nothing.
func (o *output) findDuplicates(each int64) error {
	want := wanted(each)
	var wrong []string
	for label, n := range o.all {
		if n != want[label] {
			wrong = append(wrong, fmt.Sprintf("%s: %d, want %d", label, n, want[label]))
		}
	}
	if len(wrong) == 0 {
		return errors.New("without the numbers all counts are right, too: no kill came between a write and its acknowledgement")
	}
	slices.Sort(wrong)
	fmt.Printf("without the numbers %d of %d counts are wrong, as they must be; the first is %s\n", len(wrong), len(want), wrong[0])
	return nil
}

// check compares the output with what the source's elements must give.
func (o *output) check(each int64, kills int) error {
	want := wanted(each)
	got := make(map[string]int64)
	distinct := 0
	var wrong []string
	for shard, list := range o.at {
		for seq, e := range list {
			if !e.seen {
				wrong = append(wrong, fmt.Sprintf("%s %d is missing", shard, seq))
			}
			got[e.label] += e.count
			distinct++
		}
	}
	for _, c := range o.clashes {
		wrong = append(wrong, "two records of one number: "+c)
	}
	for label, n := range want {
		if got[label] != n {
			wrong = append(wrong, fmt.Sprintf("%s: %d, want %d", label, got[label], n))
		}
	}
	for label := range got {
		if _, ok := want[label]; !ok && label != "" {
			wrong = append(wrong, "nobody asked for "+label)
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return fmt.Errorf("%d things are wrong in the output, such as:\n  %s", len(wrong), strings.Join(wrong[:min(len(wrong), 20)], "\n  "))
	}
	again := 0
	for label, n := range o.all {
		if n != want[label] {
			again++
		}
	}
	fmt.Printf("%d records with numbers of their own, %d written twice or more; %d counts, all as they must be\n", distinct, o.lines-distinct, len(want))
	if kills >= 10 && again == 0 {
		return errors.New("no record was written twice: the kills never came between a write and its acknowledgement, so this shows nothing")
	}
	fmt.Printf("without the numbers %d counts would be wrong\n", again)
	return nil
}
