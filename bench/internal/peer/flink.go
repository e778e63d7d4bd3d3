package peer

import (
	"context"
	"fmt"
	"path/filepath"
)

// flink is Flink's portable runner, with a Flink cluster inside the job server.
type flink struct{ jars string }

func (flink) Name() string { return "flink" }

func (flink) Describe() string {
	return "Apache Flink 1.19 by Beam 2.62's portable runner, in one JVM, LOOPBACK worker"
}

func (f flink) Start(ctx context.Context, dir string) (*Instance, error) {
	jars, err := filepath.Glob(filepath.Join(f.jars, "*.jar"))
	if err != nil {
		return nil, err
	}
	if len(jars) == 0 {
		return nil, fmt.Errorf("no jars in %s; `make bench PEERS=flink` gets them", f.jars)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	var args []string
	for _, pkg := range []string{"java.lang", "java.util", "java.nio", "java.net", "java.io", "java.time",
		"java.util.concurrent", "java.lang.reflect", "java.text", "sun.nio.ch"} {
		args = append(args, "--add-opens=java.base/"+pkg+"=ALL-UNNAMED")
	}
	args = append(args,
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-Djava.io.tmpdir="+dir,
		"-cp", filepath.Join(f.jars, "*"),
		"org.apache.beam.runners.flink.FlinkJobServerDriver",
		"--flink-master=[local]", "--job-host=localhost", fmt.Sprintf("--job-port=%d", port),
		"--artifact-port=0", "--expansion-port=0",
		"--artifacts-dir="+filepath.Join(dir, "artifacts"))
	return loopback(startServer(ctx, dir, port, "java", args...))
}
