//go:build unix

package fnapi

import (
	"os/exec"
	"syscall"
)

// ownGroup puts the process into a group of its own, so that the programs which
// it starts end with it: boot programs start the SDK harness as a child.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func terminateGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }

func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
