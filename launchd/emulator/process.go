package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/process"
)

// child is a job's process, from fork to reap.
type child struct {
	pid    int
	id     string // of package process
	cmd    *exec.Cmd
	order  *os.File // write end; the proxy waits for it
	result *os.File // read end
}

// fork starts the proxy in a session of its own, where it waits for release.
func fork(label string) (*child, error) {
	orderR, orderW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("fork: %w", err)
	}
	defer orderR.Close()
	resultR, resultW, err := os.Pipe()
	if err != nil {
		orderW.Close()
		return nil, fmt.Errorf("fork: %w", err)
	}
	defer resultW.Close()
	c := &child{order: orderW, result: resultR}
	exe, err := executable()
	if err == nil {
		c.cmd = &exec.Cmd{
			Path:        exe,
			Args:        []string{proxyName, label},
			Env:         []string{},
			Dir:         "/",
			ExtraFiles:  []*os.File{orderR, resultW},
			SysProcAttr: &syscall.SysProcAttr{Setsid: true},
		}
		err = c.cmd.Start()
	}
	if err != nil {
		orderW.Close()
		resultR.Close()
		return nil, fmt.Errorf("fork: %w", err)
	}
	c.pid = c.cmd.Process.Pid
	if c.id, err = process.ID(c.pid); err != nil {
		// Without it no later supervisor could know the process again. The
		// proxy ends when it finds that it gets no order.
		c.order.Close()
		c.result.Close()
		_ = c.cmd.Wait()
		return nil, fmt.Errorf("fork: %w", err)
	}
	return c, nil
}

// release lets the proxy go on and become the job.
func (c *child) release(o order) error {
	defer c.order.Close()
	data, err := json.Marshal(o)
	if err == nil {
		// A proxy that was killed meanwhile gives EPIPE; its end is reported
		// by wait.
		_, err = c.order.Write(data)
	}
	if err != nil {
		return fmt.Errorf("release process %d: %w", c.pid, err)
	}
	return nil
}

var errNoProxy = errors.New("the supervisor's program does not call emulator.XPCProxy first in main")

// awaitExec blocks until the proxy has become the job's program, or not.
func (c *child) awaitExec() error {
	defer c.result.Close()
	answer, err := io.ReadAll(c.result)
	why, ready := strings.CutPrefix(string(answer), proxyReady)
	switch {
	case err != nil:
		return fmt.Errorf("read from xpcproxy: %w", err)
	case !ready:
		return errNoProxy
	case why != "":
		return errors.New(why)
	}
	return nil
}

// reap blocks until the process is dead, and clears up after it. Unless
// abandon is set (the key AbandonProcessGroup), what is left of its process
// group dies with it.
func (c *child) reap(abandon bool) exitStatus {
	awaitZombie(c.pid)
	if !abandon {
		// Before Wait: until then nobody else can get the number.
		_ = unix.Kill(-c.pid, unix.SIGKILL)
	}
	_ = c.cmd.Wait()
	if ws, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
		return statusOf(ws)
	}
	return exitStatus{Kind: lost}
}

// pollAdopted is how often an adopted process is looked at: the kernel tells
// the end of a process to its parent only.
const pollAdopted = 100 * time.Millisecond

// reapAdopted is reap for a process of an earlier supervisor. It gives up
// when done is closed.
func reapAdopted(pid int, id string, abandon bool, done <-chan struct{}) (exitStatus, bool) {
	tick := time.NewTicker(pollAdopted)
	defer tick.Stop()
	for process.Is(pid, id) {
		select {
		case <-tick.C:
		case <-done:
			return exitStatus{}, false
		}
	}
	// The kernel does not give a number to a new process while a group has
	// it; only a living process with that number means that it was reused.
	if _, err := process.ID(pid); err != nil && !abandon {
		_ = unix.Kill(-pid, unix.SIGKILL)
	}
	return exitStatus{Kind: lost}, true
}
