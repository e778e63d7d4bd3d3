// Package rocksdb keeps state in RocksDB, a C++ library. It is there when built
// with the tag rocksdb and Debian's librocksdb-dev (7.8): reads of absent keys,
// checkpoints and large stores cost less than with package pebble, everything
// else more.
//
// Debian builds RocksDB with its asserts: misuse aborts the process. So no call
// reaches it that it would not survive: calls pass a gate that Close shuts, a
// Close waits for scans and releases snapshots first, and batches are plain Go
// memory until they are written.
package rocksdb
