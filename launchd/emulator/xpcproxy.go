package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// proxyName is argv[0] of a process that is to become a job.
const proxyName = "xpcproxy"

// The descriptors that a supervisor hands to the proxy.
const (
	orderFD  = 3 // it reads its order here
	resultFD = 4 // and answers here; exec closes it
)

// proxyReady is the first byte of an answer. What follows is why the job
// could not be started; nothing follows a successful exec.
const proxyReady = "."

// order is all that the proxy must know to become a job.
type order struct {
	Program string
	Args    []string
	Env     []string
	Dir     string
	Stdin   string
	Stdout  string
	Stderr  string
	Umask   int
	Nice    int
	Limits  []limit
}

// limit is one resource limit; nil leaves the value as it is.
type limit struct {
	Resource   int
	Soft, Hard *uint64
}

// XPCProxy returns at once, unless a [Supervisor] has started this process to
// become a job: then it does not return. Every program that runs a Supervisor
// calls it first in main (a test binary: in TestMain), before flags are parsed.
func XPCProxy() {
	if len(os.Args) == 0 || os.Args[0] != proxyName {
		return
	}
	unix.CloseOnExec(orderFD)
	unix.CloseOnExec(resultFD)
	result := os.NewFile(resultFD, "result")
	if _, err := result.WriteString(proxyReady); err != nil {
		os.Exit(exConfig)
	}
	// A supervisor that dies before it has recorded this process leaves an
	// empty or broken order.
	var o order
	data, err := io.ReadAll(os.NewFile(orderFD, "order"))
	if err == nil {
		err = json.Unmarshal(data, &o)
	}
	if err == nil {
		err = o.execute()
	}
	fmt.Fprint(result, err)
	os.Exit(exConfig)
}

// execute turns this process into the job's; it returns only with an error.
func (o *order) execute() error {
	unix.Umask(o.Umask)
	for _, std := range []struct {
		path string
		fd   int
		flag int
	}{
		{o.Stdin, 0, os.O_RDONLY},
		{o.Stdout, 1, os.O_RDWR | os.O_CREATE | os.O_APPEND},
		{o.Stderr, 2, os.O_RDWR | os.O_CREATE | os.O_APPEND},
	} {
		if err := redirect(std.fd, std.path, std.flag); err != nil {
			return err
		}
	}
	for _, l := range o.Limits {
		if err := l.apply(); err != nil {
			return fmt.Errorf("set resource limit %d: %w", l.Resource, err)
		}
	}
	if o.Nice != 0 {
		// A negative value needs root; macOS starts the job without it too.
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, o.Nice)
	}
	if err := os.Chdir(o.Dir); err != nil {
		return fmt.Errorf("change directory: %w", err)
	}
	// exec gives handled signals their default back but leaves ignored ones
	// ignored, which they are if the supervisor was started with nohup.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT)
	return fmt.Errorf("execute %s: %w", o.Program, syscall.Exec(o.Program, o.Args, o.Env))
}

// redirect makes path, if there is one, the descriptor fd. Like the real
// xpcproxy it creates missing parent directories.
func redirect(fd int, path string, flag int) error {
	if path == "" {
		return nil
	}
	if flag&os.O_CREATE != 0 {
		//nolint:gosec // the job's umask decides, as it does for the file
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return fmt.Errorf("open job's descriptor %d: %w", fd, err)
		}
	}
	// Not os.OpenFile, which would make a FIFO non-blocking for the job too.
	from, err := unix.Open(path, flag|unix.O_CLOEXEC|unix.O_NOCTTY, 0o666)
	if err != nil {
		return fmt.Errorf("open job's descriptor %d: %w", fd, &os.PathError{Op: "open", Path: path, Err: err})
	}
	defer unix.Close(from)
	if err := dup2(from, fd); err != nil {
		return fmt.Errorf("set job's descriptor %d: %w", fd, err)
	}
	return nil
}

// apply goes as near to the limit as the user may: only root can raise a hard
// limit, and a job that gets fewer files than it hoped for still runs.
func (l limit) apply() error {
	// Not x/sys: this package's Setrlimit is what tells the Go runtime not to
	// put RLIMIT_NOFILE back to its first value on exec.
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(l.Resource, &lim); err != nil {
		return err
	}
	old := lim.Max
	if l.Hard != nil {
		lim.Max = *l.Hard
	}
	if l.Soft != nil {
		lim.Cur = *l.Soft
	}
	lim.Cur = min(lim.Cur, lim.Max)
	err := syscall.Setrlimit(l.Resource, &lim)
	if errors.Is(err, unix.EPERM) {
		lim.Max = old
		lim.Cur = min(lim.Cur, lim.Max)
		err = syscall.Setrlimit(l.Resource, &lim)
	}
	return err
}
