package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/summerbeam/summerbeam/runner"
	"github.com/summerbeam/summerbeam/runner/engine"
)

type serveCmd struct {
	Host      string     `name:"host" default:"127.0.0.1" help:"Address to listen on. Anyone who reaches it can run code here."`
	Port      uint16     `name:"port" default:"8073" help:"Port to listen on; 0 takes a free one."`
	Metrics   uint16     `name:"metrics_port" placeholder:"PORT" help:"Port for Prometheus metrics, at /metrics. Default: none are served."`
	DataDir   string     `name:"data_dir" placeholder:"DIR" help:"Directory for state and artifacts. Without it they are temporary and go with the server."`
	Store     string     `name:"store" placeholder:"rocksdb|pebble" enum:",rocksdb,pebble" default:"" help:"State backend. Default: the best that is compiled in."`
	Memory    byteSize   `name:"memory" placeholder:"SIZE" default:"0" help:"Memory for data, such as 512MiB, 4GiB or 2G. Default: 128MiB."`
	Default   []string   `name:"default" placeholder:"OPTION=VALUE" help:"Default of a pipeline option, such as bundle_elements=1000. Options: ${options}."`
	LogLevel  slog.Level `name:"log_level" placeholder:"debug|info|warn|error" default:"info" help:"Least severe records to log (default: ${default})."`
	LogFormat string     `name:"log_format" enum:"text,json" default:"text" help:"Format of the log: text or json."`
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, s streams) error {
	tuneGC()
	// First of all, so that a port which is taken leaves no data directory behind.
	l, err := net.Listen("tcp", net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))))
	if err != nil {
		return fmt.Errorf("%w; is another server running? Say --port for another port", err)
	}
	defer l.Close()
	var tuning engine.Config
	for _, d := range c.Default {
		name, value, _ := strings.Cut(d, "=")
		if err := runner.SetOption(&tuning, name, value); err != nil {
			return fmt.Errorf("--default: %w", err)
		}
	}
	server, err := runner.Open(runner.Config{
		DataDir:     c.DataDir,
		Store:       c.Store,
		MemoryBytes: int64(c.Memory),
		Log:         slog.New(c.handler(s)),
		Engine:      tuning,
	})
	if err != nil {
		return err
	}
	if c.Metrics != 0 {
		stop, err := serveMetrics(net.JoinHostPort(c.Host, strconv.Itoa(int(c.Metrics))), server.Metrics())
		if err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		defer stop()
	}
	return server.Serve(ctx, l)
}

// serveMetrics serves a collector, and the process's own metrics, until stop is called.
func serveMetrics(addr string, jobs prometheus.Collector) (stop func(), err error) {
	r := prometheus.NewRegistry()
	r.MustRegister(jobs, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go s.Serve(l)
	return func() { _ = s.Close() }, nil
}

func (c *serveCmd) handler(s streams) slog.Handler {
	o := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.NewJSONHandler(s.err, o)
	}
	return slog.NewTextHandler(s.err, o)
}

// optionNames lists the pipeline options that have defaults.
func optionNames() string {
	var names []string
	runner.Options(func(name, _ string) { names = append(names, strings.TrimPrefix(name, "summerbeam_")) })
	return strings.Join(names, ", ")
}
