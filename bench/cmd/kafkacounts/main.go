// Kafkacounts counts a topic's records by user and minute, and writes each count once to
// another topic, with Beam. bench/kafka/streams is the same for Kafka Streams.
//
//	kafkacounts --brokers=host:port --from=clicks --to=counts --runner=summerbeam --summerbeam_data_dir=data --job_name=counts
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	_ "net/http/pprof" // for --pprof
	"strings"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"

	"github.com/summerbeam/summerbeam/bench/kafka/clicks"
	"github.com/summerbeam/summerbeam/io/kafkaio"
	_ "github.com/summerbeam/summerbeam/runner/beamrunner"
)

var (
	brokers = flag.String("brokers", "", "Brokers of the cluster.")
	from    = flag.String("from", "", "Topic to read.")
	to      = flag.String("to", "", "Topic to write.")
	once    = flag.Bool("exactly_once", true, "Write each count once, on a runner that can; else at least once.")
	bounded = flag.Bool("bounded", false, "Read what is there now, and end.")
	profile = flag.String("pprof", "", "Address to serve this process's profiles at, such as localhost:6060 (optional).")
)

func init() {
	register.Function1x2(userOf)
	register.Function2x1(add)
	register.Function3x1(result)
}

var first sync.Once

// userOf is the key of a record, and 1.
func userOf(r kafkaio.Record) (string, int64) {
	first.Do(func() { fmt.Printf("first record at %d\n", time.Now().UnixMilli()) })
	return string(r.Key), 1
}

func add(a, b int64) int64 { return a + b }

// result is the one of a user's window.
func result(w beam.Window, user string, n int64) kafkaio.Record {
	k, v := clicks.Result([]byte(user), int64(w.MaxTimestamp())+1, n)
	return kafkaio.Record{Key: k, Value: v}
}

func main() {
	flag.Parse()
	beam.Init()
	if *profile != "" {
		go func() { log.Println(http.ListenAndServe(*profile, nil)) }()
	}
	cluster := kafkaio.Cluster{Brokers: strings.Split(*brokers, ",")}
	p, s := beam.NewPipelineWithRoot()
	read := []kafkaio.ReadOption{kafkaio.Topics(*from)}
	if *bounded {
		read = append(read, kafkaio.Until(kafkaio.Latest()))
	}
	in := kafkaio.Read(s, cluster, read...)
	ones := beam.WindowInto(s, window.NewFixedWindows(clicks.Window), beam.ParDo(s, userOf, in))
	counts := beam.CombinePerKey(s, add, ones)
	write := []kafkaio.WriteOption{kafkaio.Topic(*to)}
	if *once {
		write = append(write, kafkaio.ExactlyOnce(*to), kafkaio.Markers(*to+"-markers"))
	}
	kafkaio.Write(s, cluster, beam.ParDo(s, result, counts), write...)
	if err := beamx.Run(context.Background(), p); err != nil {
		log.Fatalf("kafkacounts: %v", err)
	}
}
