package kafkaio

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// A topic that is deleted and made again has its old name, and other records at the same
// offsets. What tells it from the old one is its id. A partition to read has the id of the
// topic that its offsets are of; brokers before Kafka 2.8 have no ids, and there nobody
// sees the difference.

// topicInfo is what the cluster says of a topic.
type topicInfo struct {
	id         string // "" if the cluster gives none
	partitions []int32
	err        error // the topic's own
}

// errRecreated says that the topic of an offset isn't there any more, and another has its name.
var errRecreated = errors.New("the topic was deleted and made again: offsets of the old one say nothing in the new one. " +
	"Start the job without its old state, or give Read the option FollowRecreated, to read the new one from its first record")

// describe asks for a topic. Its own error is that of asking.
func describe(ctx context.Context, adm *kadm.Client, topic string) (topicInfo, error) {
	// With authorized operations the client asks a broker, and doesn't say what it knew a moment ago.
	details, err := adm.ListTopics(kadm.WithAuthorizedOps(ctx), topic)
	if err != nil {
		return topicInfo{}, fmt.Errorf("kafkaio: topic %s: %w", topic, explainRead(err))
	}
	d, ok := details[topic]
	if !ok {
		return topicInfo{}, fmt.Errorf("kafkaio: topic %s: the cluster says nothing of it", topic)
	}
	info := topicInfo{partitions: d.Partitions.Numbers()}
	slices.Sort(info.partitions)
	if d.ID != (kadm.TopicID{}) {
		info.id = d.ID.String()
	}
	if d.Err != nil {
		info.err = fmt.Errorf("kafkaio: topic %s: %w", topic, explainRead(d.Err))
	}
	return info, nil
}

// find is describe for a topic that should be there. It waits for brokers that are away.
func find(ctx context.Context, adm *kadm.Client, topic string) (info topicInfo, err error) {
	err = patiently(ctx, "topic "+topic, func() (err error) {
		info, err = describe(ctx, adm, topic)
		return err
	})
	return info, errors.Join(err, info.err)
}

// explainRead says what to do about an error of reading, where that is known.
func explainRead(err error) error {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return fmt.Errorf("it is not there, or the user may not see it: %w", err)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("the user may not read it: grant READ and DESCRIBE: %w", err)
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return fmt.Errorf("the user may not use the group: grant READ: %w", err)
	}
	return err
}

// missingPatience is how long a topic that is read may be unknown to the brokers: one that
// is being made again, or one that a broker which has just started hasn't heard of yet.
const missingPatience = 10 * time.Second

// askPatience is how long one question about a topic may take.
const askPatience = 2 * time.Second

func (f *reader) missing() time.Duration { return cmp.Or(f.patience, missingPatience) }

// sameTopic fails if the topic is not the one that the partition's offsets are of. It returns false
// if nobody can say so at the moment.
func (f *reader) sameTopic(ctx context.Context, p Partition) (sure bool, err error) {
	cl, err := f.Conf.Cluster.client()
	if err != nil {
		return false, err
	}
	for began := time.Now(); ; {
		asking, cancel := context.WithTimeout(ctx, askPatience)
		now, err := describe(asking, kadm.NewClient(cl), p.Topic)
		late := asking.Err() != nil
		cancel()
		switch {
		case err != nil && (away(err) || late):
			return false, nil
		case err != nil:
			return false, err
		case now.err == nil && p.ID != "" && now.id != "" && now.id != p.ID:
			return false, fmt.Errorf("kafkaio: topic %s, partition %d: %w", p.Topic, p.Number, errRecreated)
		case now.err == nil:
			return true, nil
		case !errors.Is(now.err, kerr.UnknownTopicOrPartition):
			return false, now.err
		}
		if ctx.Err() != nil || time.Since(began) > f.missing() {
			return false, fmt.Errorf("%w; was it deleted?", now.err)
		}
		time.Sleep(f.missing() / 20)
	}
}
