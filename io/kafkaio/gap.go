package kafkaio

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// beyondGap is the first offset, from one on, at which a partition may have a record. Compaction can
// take all records up to the partition's end, and a consumer, who only hears of
// records, would wait there for the next one: who wants to come to an end asks here.
func beyondGap(ctx context.Context, c *Cluster, topic string, partition int32, from int64, committed bool) (int64, error) {
	cl, err := c.client()
	if err != nil {
		return from, err
	}
	known, err := kadm.NewClient(cl).ListTopics(ctx, topic)
	if err != nil {
		return from, err
	}
	t := known[topic]
	p := t.Partitions[partition]
	for _, err := range []error{t.Err, p.Err} {
		if err != nil {
			return from, err
		}
	}
	const maxBytes = 1 << 20
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes = maxBytes
	asked := kmsg.NewFetchRequestTopicPartition()
	asked.Partition, asked.FetchOffset, asked.PartitionMaxBytes = partition, from, maxBytes
	opts := kgo.ProcessFetchPartitionOpts{KeepControlRecords: true, Offset: from, Topic: topic, Partition: partition}
	if committed {
		req.IsolationLevel = 1
		opts.IsolationLevel = kgo.ReadCommitted()
	}
	req.Topics = []kmsg.FetchRequestTopic{{Topic: topic, TopicID: t.ID, Partitions: []kmsg.FetchRequestTopicPartition{asked}}}
	resp, err := req.RequestWith(ctx, cl.Broker(int(p.Leader)))
	if err != nil {
		return from, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return from, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return from, fmt.Errorf("a broker's answer about topic %s is of %d topics", topic, len(resp.Topics))
	}
	got := &resp.Topics[0].Partitions[0]
	records, next := kgo.ProcessFetchPartition(opts, got, kgo.DefaultDecompressor(), nil)
	switch {
	case records.Err != nil:
		return from, records.Err
	case len(records.Records) > 0:
		return records.Records[0].Offset, nil
	case len(got.RecordBatches) > 0:
		return max(next, from), nil
	case resp.ThrottleMillis > 0:
		return from, nil // the broker has kept its answer back
	}
	end := got.HighWatermark
	if committed {
		end = got.LastStableOffset
	}
	return max(end, from), nil
}
