//go:build !unix

package fnapi

import "os/exec"

// Where there are no process groups the process alone is ended.

func ownGroup(*exec.Cmd) {}

func terminateGroup(*exec.Cmd) {}

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
