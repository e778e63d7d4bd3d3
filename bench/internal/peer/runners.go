package peer

import (
	"context"
	"fmt"
	"path/filepath"
)

// embedded is Summerbeam in the program's own process.
type embedded struct{ store, memory string }

func (embedded) Name() string { return "embedded" }

func (e embedded) Describe() string {
	return "Summerbeam in the pipeline's own process (" + e.store + ")"
}

func (e embedded) Start(context.Context, string) (*Instance, error) {
	flags := []string{"--runner=summerbeam", "--summerbeam_store=" + e.store}
	if e.memory != "" {
		flags = append(flags, "--summerbeam_memory="+e.memory)
	}
	return &Instance{Flags: flags}, nil
}

// served is Summerbeam's server.
type served struct {
	program, store, memory string
	// durable says that jobs outlive the server: the log is synced.
	durable bool
}

func (s served) Name() string {
	switch {
	case s.durable:
		return "served-durable"
	case s.store == "rocksdb":
		return "served"
	}
	return "served-" + s.store
}

func (s served) Describe() string {
	d := "Summerbeam's server, LOOPBACK worker (" + s.store
	if s.durable {
		d += ", with a data directory and a synced log"
	}
	return d + ")"
}

func (s served) Start(ctx context.Context, dir string) (*Instance, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args := []string{"serve", fmt.Sprintf("--port=%d", port), "--store=" + s.store}
	if s.memory != "" {
		args = append(args, "--memory="+s.memory)
	}
	if s.durable {
		args = append(args, "--data_dir="+filepath.Join(dir, "data"))
	}
	return loopback(startServer(ctx, dir, port, s.program, args...))
}

// prism is the Go SDK's runner as a server of its own.
type prism struct{ program string }

func (prism) Name() string { return "prism" }

func (prism) Describe() string { return "Prism, the Go SDK's runner, as a server, LOOPBACK worker" }

func (p prism) Start(ctx context.Context, dir string) (*Instance, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	return loopback(startServer(ctx, dir, port, p.program,
		fmt.Sprintf("--job_port=%d", port), "--serve_http=false", "--log_level=warn"))
}

// prismInProcess is Prism as --runner=prism starts it.
type prismInProcess struct{}

func (prismInProcess) Name() string { return "prism-inprocess" }

func (prismInProcess) Describe() string { return "Prism in the pipeline's own process" }

func (prismInProcess) Start(context.Context, string) (*Instance, error) {
	return &Instance{Flags: []string{"--runner=prism"}}, nil
}

// loopback is an instance of a server whose work is done by the pipeline's process.
func loopback(s *Server, err error) (*Instance, error) {
	if err != nil {
		return nil, err
	}
	return &Instance{Server: s, Flags: []string{"--runner=universal", "--endpoint=" + s.endpoint, "--environment_type=LOOPBACK"}}, nil
}

// sdkAlone is no runner: the Go SDK executes recorded bundles.
type sdkAlone struct{}

func (sdkAlone) Name() string { return "sdk-alone" }

func (sdkAlone) Describe() string {
	return "no runner: the Go SDK's exec.Plan over the same bundles, the least that any runner of it can need"
}

func (sdkAlone) Start(context.Context, string) (*Instance, error) {
	return &Instance{Flags: []string{"--sdk_alone"}}, nil
}
