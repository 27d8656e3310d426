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
	// Timeout bounds each launchctl, so that one that hangs does not hang its
	// caller. Kickstart with Kill takes as long as the job takes to end: let
	// it be longer than the job's exit timeout. 0: DefaultTimeout; less: only
	// the context counts.
	Timeout time.Duration
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

// DefaultTimeout is how long a launchctl may take. Most take a few
// milliseconds; kickstart -k was seen to take more than 5 s.
const DefaultTimeout = time.Minute

// ErrNoAnswer means that launchctl was ended because it took longer than
// [Client].Timeout. What it should do may have happened.
var ErrNoAnswer = errors.New("launchctl did not answer in time")

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
	if t := c.timeout(); t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t, fmt.Errorf("%w (%s)", ErrNoAnswer, t))
		defer cancel()
	}
	out, err := run(ctx, argv, c.Env)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("run %s: %w", command(verb, target), err)
	}
	if out.Code != 0 {
		return out.Stdout, &Error{Verb: verb, Target: target, Code: out.Code, Stderr: string(out.Stderr)}
	}
	return out.Stdout, nil
}

func (c *Client) timeout() time.Duration {
	if c.Timeout == 0 {
		return DefaultTimeout
	}
	return c.Timeout
}

func command(verb, target string) string {
	if target == "" {
		return "launchctl " + verb
	}
	return "launchctl " + verb + " " + target
}

func runProcess(ctx context.Context, argv, env []string) (Output, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = env
	cmd.WaitDelay = killDelay
	// One byte more than the parsers take, so that they see that it is cut.
	out, errs := &limited{max: maxOutputBytes + 1}, &limited{max: 64 << 10}
	cmd.Stdout, cmd.Stderr = out, errs
	err := cmd.Run()
	// An exit is an answer, also if the context ended at that moment, or if a
	// child that launchctl left behind holds its output open.
	if s := cmd.ProcessState; s != nil && s.Exited() {
		return Output{Stdout: out.buf.Bytes(), Stderr: errs.buf.Bytes(), Code: s.ExitCode()}, nil
	}
	return Output{}, err
}

// limited keeps the first max bytes and takes the rest for nothing, so that a
// launchctl that says too much is neither blocked nor a danger. The buffer is
// a field: embedded, its ReadFrom would have io.Copy go around Write.
type limited struct {
	buf bytes.Buffer
	max int
}

func (l *limited) Write(p []byte) (int, error) {
	l.buf.Write(p[:max(min(l.max-l.buf.Len(), len(p)), 0)])
	return len(p), nil
}
