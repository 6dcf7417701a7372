package main

import (
	"os/exec"
	"syscall"
)

// endWithParent has a process told to stop when we are killed.
func endWithParent(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
