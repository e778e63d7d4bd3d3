# Targets that a reader needs first: build, test, demo. `make help` lists all.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

# A build must not depend on whether git trusts the directory it runs in.
export GOFLAGS ?= -buildvcs=false

# Everything that is built or downloaded goes to bin/ and .cache/.
GOSUITE = bin/gosuite

.PHONY: help
help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | column -t -s $$'\t'

.PHONY: build
build: deps ## Build bin/summerbeam with both stores, RocksDB and Pebble.
	go build -tags rocksdb -o bin/summerbeam ./cmd/runner

.PHONY: deps
deps: # RocksDB's headers and library.
	@tools/deps.sh

.PHONY: lint
lint: ## gofmt, go vet and staticcheck, with and without RocksDB.
	@tools/gofmt.sh
	go vet ./...
	go vet -tags rocksdb ./...
	go tool staticcheck ./...
	go tool staticcheck -tags rocksdb ./...

.PHONY: test
test: deps lint ## Everything that must pass before a change goes in.
	CGO_ENABLED=0 go build ./...
	go test -race ./...
	go test -run 'TestCosts' ./runner/engine
	go test -race -tags rocksdb $$(tools/tagged.sh rocksdb)
	$(MAKE) conformance-vectors
	$(MAKE) conformance-short
	$(MAKE) crash-short

.PHONY: $(GOSUITE)
$(GOSUITE):
	@go build -o $@ ./conformance/cmd/gosuite

.PHONY: conformance-go
conformance-go: build $(GOSUITE) ## Beam's own Go suites: served and embedded, on both stores.
	$(GOSUITE) --mode served,embedded --store rocksdb,pebble --expect conformance/expected.txt --json .cache/conformance/go.json

.PHONY: conformance-stress
conformance-stress: build $(GOSUITE) ## The same with bundles of one element, 8 MiB of memory and forced splits.
	$(GOSUITE) --mode served --store rocksdb --memory 8MiB --options bundle_elements=1,force_splits=true,split_after=1ms --expect conformance/expected.txt --json .cache/conformance/go-stress-served.json
	$(GOSUITE) --mode embedded --store pebble --memory 8MiB --options bundle_elements=1,force_splits=true,split_after=1ms --expect conformance/expected.txt --json .cache/conformance/go-stress-embedded.json

.PHONY: conformance-short
conformance-short: build $(GOSUITE) ## A sample of Beam's Go suites, served and embedded.
	$(GOSUITE) --mode served --store rocksdb --tests conformance/short.txt --expect conformance/expected.txt
	$(GOSUITE) --mode embedded --store pebble --tests conformance/short.txt --expect conformance/expected.txt

.PHONY: conformance-python
conformance-python: build ## Beam's own Python suites against a server, in a venv that it makes.
	conformance/python/run.sh --json .cache/conformance/python.json

.PHONY: conformance-vectors
conformance-vectors: ## Beam's trigger transcripts and standard coder vectors, from the Python SDK's wheel.
	@conformance/vectors.sh

.PHONY: conformance-prism
conformance-prism: $(GOSUITE) ## The same suites on Prism, the Go SDK's own runner, to compare with.
	$(GOSUITE) --mode prism --parallel 1 --json .cache/conformance/prism.json

# How many random pipelines `make metamorphic` draws.
CHECKS ?= 10000

.PHONY: metamorphic
metamorphic: deps ## Many random pipelines, each run in a random way and compared with a model of Beam; CHECKS=N says how many.
	go test -tags rocksdb -timeout 60m -run "TestPanes|TestCustomPanes" ./conformance/metamorphic -rapid.checks $(CHECKS)

.PHONY: crash
crash: build bin/crash ## A streaming job killed with kill -9 fifty times, at random and at named points, on each store: its output stays right.
	bin/crash --store pebble
	bin/crash --store rocksdb
	bin/crash --store rocksdb --server bin/summerbeam
	bin/crash --store pebble --kills 10 --dedup=false

.PHONY: crash-kafka
crash-kafka: bin/crash ## Kafka to Kafka, exactly once: the job is killed ten times, a real broker once.
	tools/kafka/crash.sh

.PHONY: demo-kafka
demo-kafka: bin/crash ## Clicks from a Kafka topic, counted by user and minute, to another topic, with three kills in between.
	tools/kafka/crash.sh --short

.PHONY: kafka-runners
kafka-runners: build bin/benchkafka ## One program from Kafka to Kafka on Summerbeam, Prism and, where Java is, Flink: each result is checked.
	tools/kafka/runners.sh

.PHONY: crash-short
crash-short: build bin/crash ## The same with a few kills.
	bin/crash --store pebble --kills 6
	bin/crash --store rocksdb --kills 5 --server bin/summerbeam
	bin/crash --store pebble --large_keys 20000 --large_value 1000 --large_bound 10s
	tools/kafka/crash.sh --short

# How much state make restart-large makes: keys, and bytes for each; and how long the restart may take.
KEYS ?= 1000000
VALUE ?= 10000
BOUND ?= 2s

.PHONY: restart-large
restart-large: build bin/crash ## How long a job with 10 GB of state (KEYS=N VALUE=BYTES) takes to go on after kill -9, on each store.
	bin/crash --store pebble --large_keys $(KEYS) --large_value $(VALUE) --large_bound $(BOUND) --dir "$$(mkdir -p .cache && echo .cache)"
	bin/crash --store rocksdb --large_keys $(KEYS) --large_value $(VALUE) --large_bound $(BOUND) --dir .cache

.PHONY: savepoint-large
savepoint-large: build bin/crash ## For how long savepoints of a job with much state hold it up, on each store; twice the state must fit on the disk.
	bin/crash --store pebble --large_keys $(KEYS) --large_value $(VALUE) --server bin/summerbeam --dir "$$(mkdir -p .cache && echo .cache)"
	bin/crash --store rocksdb --large_keys $(KEYS) --large_value $(VALUE) --server bin/summerbeam --dir .cache

.PHONY: bench-durability
bench-durability: deps ## What a read and a write of a key's state cost in the runner, ephemeral and durable, on each store, and on RocksDB's release build; and timers of 1 M idle keys.
	go test -tags rocksdb -run '^$$' -bench 'KeyedUpdate|IdleTimers' -benchtime 1x -timeout 30m ./runner/engine
	@echo "RocksDB's release build:"
	tools/rocksdb-release.sh go test -tags rocksdb -run '^$$' -bench KeyedUpdate/rocksdb -benchtime 1x -timeout 30m ./runner/engine

.PHONY: bin/crash
bin/crash:
	@go build -tags rocksdb -o $@ ./conformance/cmd/crash

.PHONY: demo
demo: build ## Count the words of the Go distribution, embedded and then served.
	@tools/demo.sh

.PHONY: swap
swap: build ## One program on Summerbeam, embedded and served, Prism and direct: same output.
	@tools/swap.sh

# Another runner for the benchmarks: PEERS=flink.
PEERS ?=
BENCH = bin/bench $(if $(PEERS),--also $(PEERS))

.PHONY: bin/bench
bin/bench:
	@go build -o $@ ./bench/cmd/bench

.PHONY: bench-peers
bench-peers: # The programs of PEERS.
	@$(if $(findstring flink,$(PEERS)),bench/flink/jars.sh .cache/bench/flink,:)

.PHONY: bench
bench: build bin/bench bench-peers ## Pipelines of 1 M records on Summerbeam, served and embedded, and on Prism; PEERS=flink adds Flink.
	$(BENCH) --suite bench --wordcount "$$(go env GOROOT)/src" --load --document docs/benchmarks.md

.PHONY: bench-full
bench-full: build bin/bench bench-peers ## The same with 3 and 10 M records.
	$(BENCH) --suite bench-full --records 3000000,10000000 --timeout 5m --document docs/benchmarks.md

.PHONY: bench-large
bench-large: build bin/bench ## Group 20 M records (2 GB), a quarter of one key, in 256 MiB of memory.
	$(BENCH) --suite bench-large --shapes group_by_key --records 20000000 --hot 25 --memory 256MiB --peers embedded,served --repeat 1 --timeout 10m --document docs/benchmarks.md

.PHONY: bench-short
bench-short: build bin/bench ## The same with 100 k records, once, on Summerbeam alone: are the results right?
	$(BENCH) --suite bench-short --records 100000 --keys 10000 --repeat 1 --peers embedded,served

.PHONY: bin/benchkafka
bin/benchkafka:
	@go build -o $@ ./bench/cmd/benchkafka
	@go build -tags rocksdb -o bin/kafkacounts ./bench/cmd/kafkacounts
	@go build -o bin/kafkarunners ./bench/cmd/kafkarunners

.PHONY: bench-kafka
bench-kafka: deps bin/benchkafka ## Kafka to Kafka, exactly once: Summerbeam and Kafka Streams count 2 M records on one broker.
	tools/kafka/bench.sh --suite bench-kafka --document docs/benchmarks.md

.PHONY: bench-kafka-short
bench-kafka-short: deps bin/benchkafka ## The same with 100 k records, once: are the results right?
	tools/kafka/bench.sh --suite bench-kafka-short --records 100000 --users 5000 --repeat 1 --kills 1 --peers pebble,kafka-streams

.PHONY: clean
clean: ## Remove what was built.
	rm -rf bin .cache
