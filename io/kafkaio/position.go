package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Position is where to begin or to end in each partition.
type Position struct {
	// Kind is earliest, latest, offset, time or group.
	Kind string
	// Offset is for offset, Millis (since the Unix epoch) for time, Group for group.
	Offset, Millis int64
	Group          string
}

// Earliest is the first record that there is; Latest behind the last one; At an offset;
// AtTime the first record of that time or later; Committed what a consumer group has
// committed, or the first record where it has nothing.
func Earliest() Position              { return Position{Kind: "earliest"} }
func Latest() Position                { return Position{Kind: "latest"} }
func At(offset int64) Position        { return Position{Kind: "offset", Offset: offset} }
func AtTime(t time.Time) Position     { return Position{Kind: "time", Millis: t.UnixMilli()} }
func Committed(group string) Position { return Position{Kind: "group", Group: group} }

// resolve finds the offsets of a topic's partitions.
func (p Position) resolve(ctx context.Context, adm *kadm.Client, topic string, partitions []int32) (out map[int32]int64, err error) {
	err = patiently(ctx, "offsets of topic "+topic, func() (err error) {
		out, err = p.ask(ctx, adm, topic, partitions)
		return err
	})
	return out, err
}

func (p Position) ask(ctx context.Context, adm *kadm.Client, topic string, partitions []int32) (map[int32]int64, error) {
	out := make(map[int32]int64, len(partitions))
	if p.Kind == "offset" {
		for _, n := range partitions {
			out[n] = p.Offset
		}
		return out, nil
	}
	list := func(ask func(context.Context, ...string) (kadm.ListedOffsets, error)) error {
		offsets, err := ask(ctx, topic)
		if err != nil {
			return err
		}
		for _, n := range partitions {
			o, ok := offsets.Lookup(topic, n)
			if !ok {
				return fmt.Errorf("topic %s, partition %d: the broker says nothing of it", topic, n)
			}
			if o.Err != nil {
				return fmt.Errorf("topic %s, partition %d: %w", topic, n, o.Err)
			}
			out[n] = o.Offset
		}
		return nil
	}
	switch p.Kind {
	case "", "earliest":
		return out, list(adm.ListStartOffsets)
	case "latest":
		return out, list(adm.ListEndOffsets)
	case "time":
		return out, list(func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
			return adm.ListOffsetsAfterMilli(ctx, p.Millis, topics...)
		})
	case "group":
		if err := list(adm.ListStartOffsets); err != nil {
			return nil, err
		}
		committed, err := adm.FetchOffsets(ctx, p.Group)
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return nil, fmt.Errorf("offsets of group %s: %w", p.Group, err)
		}
		for _, n := range partitions {
			if o, ok := committed.Lookup(topic, n); ok && o.Err == nil && o.At >= 0 {
				out[n] = o.At
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("position of kind %q", p.Kind)
}
