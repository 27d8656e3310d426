package launchd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// A Client runs launchctl. Its zero value runs /bin/launchctl in this
// process's environment. It holds no state and may be used by several
// goroutines; each call is a process of its own, which ends with its context.
type Client struct {
	// Command is the launchctl to run and its first arguments. Nil:
	// /bin/launchctl.
	Command []string
	// Env is its environment. Nil: this process's own.
	Env []string
	// Run replaces the running of the process: it returns what launchctl
	// wrote and its exit status; an error means that it did not run. Nil:
	// os/exec.
	Run func(ctx context.Context, argv, env []string) (Output, error)
}

// Output is what a launchctl left behind.
type Output struct {
	Stdout, Stderr []byte
	Code           int
}

// killDelay is how long a launchctl whose context has ended may hold its
// output open before it is cut off.
const killDelay = time.Second

// call runs a verb and makes an Error of an exit status that is not 0. The
// target is what the verb is about; args follow the verb.
func (c *Client) call(ctx context.Context, verb, target string, args ...string) ([]byte, error) {
	argv := c.Command
	if len(argv) == 0 {
		argv = []string{"/bin/launchctl"}
	}
	argv = append(append(append([]string{}, argv...), verb), args...)
	run := c.Run
	if run == nil {
		run = runProcess
	}
	out, err := run(ctx, argv, c.Env)
	if err != nil {
		return nil, fmt.Errorf("run launchctl %s %s: %w", verb, target, err)
	}
	if out.Code != 0 {
		return out.Stdout, &Error{Verb: verb, Target: target, Code: out.Code, Stderr: string(out.Stderr)}
	}
	return out.Stdout, nil
}

func runProcess(ctx context.Context, argv, env []string) (Output, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = env
	cmd.WaitDelay = killDelay
	out, errs := &limited{max: maxOutputBytes}, &limited{max: 64 << 10}
	cmd.Stdout, cmd.Stderr = out, errs
	err := cmd.Run()
	if ctx.Err() != nil {
		return Output{}, context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		err = nil
	}
	if err != nil {
		return Output{}, err
	}
	return Output{Stdout: out.Bytes(), Stderr: errs.Bytes(), Code: cmd.ProcessState.ExitCode()}, nil
}

// limited keeps the first max bytes and takes the rest for nothing, so that a
// launchctl that says too much is neither blocked nor a danger.
type limited struct {
	bytes.Buffer
	max int
}

func (l *limited) Write(p []byte) (int, error) {
	if room := l.max - l.Len(); room < len(p) {
		l.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return l.Buffer.Write(p)
}
