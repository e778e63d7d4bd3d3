// Package kafkaio reads from and writes to Apache Kafka in Beam Go pipelines, without
// Java. It imports the Beam SDK and franz-go, never a runner.
//
//	records := kafkaio.Read(s, cluster, kafkaio.Topics("clicks"), kafkaio.From(kafkaio.Earliest()))
//	...
//	kafkaio.Write(s, cluster, out, kafkaio.Topic("counts"), kafkaio.ExactlyOnce("clicks-counts"))
//
// # Reading
//
// Each partition is a restriction of offsets. Where a job is in its partitions is part of
// the runner's checkpoint, and nothing else: on a runner that goes on from its checkpoint
// after a crash, as Summerbeam does with a data directory, no record is lost or read
// twice. Topics are named, or match a pattern: then ones that appear later are read, too.
// A consumer group is told of offsets for other tools to see, if one is named.
//
// Decode turns records into values of a Go type, and Encode values into records. TryDecode,
// TryEncode and TryWrite put aside what Decode, Encode and Write fail for, as DeadLetters.
//
// # Writing
//
// Without more, writing is at least once: what a bundle has written is written again if
// the bundle runs again. ExactlyOnce writes each record once, by numbers that keyed state
// gives to records and a transaction that holds records and the last of their numbers.
// It needs a runner that honours stable input (the annotation
// summerbeam:stable_input:v1): on others a retry may see other records under the same
// numbers.
//
// docs/kafka.md, in the repository, has what to know before production.
package kafkaio
