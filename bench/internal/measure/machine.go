package measure

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
)

// Machine is where a suite has run, and with which versions.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory_bytes"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Beam   string `json:"beam"`
	Commit string `json:"commit,omitempty"`
	// Load is the load average of the last minute when the suite began.
	Load string `json:"load"`
}

// ThisMachine describes this one. What can't be found stays empty.
func ThisMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Memory: MemoryBytes()}
	m.CPU = field("/proc/cpuinfo", "model name")
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(b), " ")
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		m.Beam = BeamOf(info)
	}
	if out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(out))
	}
	return m
}

// BeamOf is the version of Beam's Go SDK that a program is built with, empty if it has
// none.
func BeamOf(info *debug.BuildInfo) string {
	for _, dep := range info.Deps {
		if dep.Path == "github.com/apache/beam/sdks/v2" {
			return strings.TrimPrefix(dep.Version, "v")
		}
	}
	return ""
}

// MemoryBytes is how much the machine has, 0 if unknown.
func MemoryBytes() int64 {
	var kb int64
	for _, c := range field("/proc/meminfo", "MemTotal") {
		if c < '0' || c > '9' {
			break
		}
		kb = kb*10 + int64(c-'0')
	}
	return kb << 10
}

// field returns the value of the first line "name: value".
func field(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
