package engine

import "github.com/cespare/xxhash/v2"

// KeyGroups is the number of key groups, fixed for ever: it is part of the state's
// keys. A key group is what can be moved; a shard is a contiguous range of them,
// as many as this process wants.
const KeyGroups = 1024

// keyHash is a key's place among all keys. Its low bits choose the key group, all
// of it the place in a group table.
func keyHash(key []byte) uint64 { return xxhash.Sum64(key) }

func keyGroup(hash uint64) int { return int(hash % KeyGroups) }

// shardOf maps a key group to one of n shards.
func shardOf(group, n int) int { return group * n / KeyGroups }
