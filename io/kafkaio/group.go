package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func init() {
	beam.RegisterDoFn(&tellGroup{})
}

// stableInput is what the Go SDK has no words for: elements that are durable before a DoFn
// gets them, so that it gets them again if it fails.
func stableInput() map[string][]byte {
	return map[string][]byte{"summerbeam:stable_input:v1": nil}
}

// tellGroup commits offsets to a consumer group. Its input is durable: a group that is
// said to have read what a crash then undoes would be a lie. (A finalizer would do as
// well, but the Go SDK calls it for a plan's first bundle alone.)
type tellGroup struct {
	Conf        readConfig
	Annotations map[string][]byte

	next map[string]int64
}

func newTellGroup(conf readConfig) *tellGroup {
	return &tellGroup{Conf: conf, Annotations: stableInput()}
}

func (f *tellGroup) StartBundle(context.Context) { f.next = make(map[string]int64) }

func (f *tellGroup) ProcessElement(_ context.Context, partition string, next int64) {
	f.next[partition] = max(f.next[partition], next)
}

func (f *tellGroup) FinishBundle(ctx context.Context) error {
	if len(f.next) == 0 {
		return nil
	}
	cl, err := f.Conf.Cluster.client()
	if err != nil {
		return err
	}
	adm := kadm.NewClient(cl)
	var old kadm.OffsetResponses
	err = patiently(ctx, "group "+f.Conf.Group, func() (err error) {
		old, err = adm.FetchOffsets(ctx, f.Conf.Group)
		return err
	})
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("kafkaio: group %s: %w", f.Conf.Group, explainRead(err))
	}
	var offsets kadm.Offsets
	for partition, next := range f.next {
		i := strings.LastIndexByte(partition, '/')
		n, err := strconv.ParseInt(partition[i+1:], 10, 32)
		if err != nil {
			return fmt.Errorf("BUG: kafkaio: partition %q: %w", partition, err)
		}
		topic := partition[:i]
		// Bundles of a partition may come in any order.
		if o, ok := old.Lookup(topic, int32(n)); ok && o.At >= next {
			continue
		}
		offsets.AddOffset(topic, int32(n), next, -1)
	}
	if len(offsets) == 0 {
		return nil
	}
	err = patiently(ctx, "group "+f.Conf.Group, func() error { return adm.CommitAllOffsets(ctx, f.Conf.Group, offsets) })
	if err != nil {
		return fmt.Errorf("kafkaio: group %s: %w", f.Conf.Group, explainRead(err))
	}
	return nil
}
