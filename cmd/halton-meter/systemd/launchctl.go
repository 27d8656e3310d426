package systemd

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/haltonlabs/halton-meter/internal/smallfile"
	"github.com/haltonlabs/halton-meter/launchd"
)

// launchctl's exit codes: Darwin's errno, and libxpc's own.
const (
	codeFailed       = 5
	codeNotPermitted = 1
	codeNoProcess    = 3
	codeLoaded       = 37
	codeNoDomain     = 112
	codeNotLoaded    = 113
	codeNoRoutine    = 116
	codeBadPlist     = 109
	codeUsageError   = 64
)

func answer(code int, stderr string) launchd.Output {
	return launchd.Output{Code: code, Stderr: []byte(stderr + "\n")}
}

// fail is the answer to a systemctl that failed.
func fail(err error) launchd.Output {
	switch {
	case noBus(err):
		return answer(codeNoDomain, err.Error())
	case denied(err):
		return answer(codeNotPermitted, err.Error())
	}
	return answer(codeFailed, err.Error())
}

// Run does what launchctl would do with args; it is what [launchd.Client] calls.
// An error means that systemctl could not be run.
func (l Launchctl) Run(ctx context.Context, args []string) (launchd.Output, error) {
	if len(args) == 0 {
		return answer(codeUsageError, "Usage: launchctl <subcommand> ..."), nil
	}
	verb, args := args[0], args[1:]
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	var out launchd.Output
	switch verb {
	case "print":
		out = l.print(ctx, arg(0))
	case "bootstrap":
		out = l.bootstrap(ctx, arg(1))
	case "bootout":
		out = l.bootout(ctx, arg(0))
	case "kickstart":
		out = l.kickstart(ctx, args)
	case "kill":
		out = l.kill(ctx, arg(0), arg(1))
	case "enable":
		// A unit that is there can be loaded: nobody disables one for good.
	case "print-disabled":
		out.Stdout = []byte("disabled services = {\n}\n")
	case "getenv":
		out = l.getenv(ctx, arg(0))
	case "setenv":
		out = l.do(ctx, "set-environment", arg(0)+"="+arg(1))
	case "unsetenv":
		out = l.do(ctx, "unset-environment", arg(0))
	default:
		out = answer(codeNoRoutine, "systemd does not know "+verb)
	}
	return out, context.Cause(ctx)
}

func (l Launchctl) do(ctx context.Context, args ...string) launchd.Output {
	if _, err := l.systemctl(ctx, args...); err != nil {
		return fail(err)
	}
	return launchd.Output{}
}

// labelOf is the label of gui/501/label.
func labelOf(target string) string { return target[strings.LastIndexByte(target, '/')+1:] }

// find is a loaded job's state, or the answer that there is none.
func (l Launchctl) find(ctx context.Context, target string) (state, *launchd.Output) {
	s, err := l.show(ctx, labelOf(target))
	var none launchd.Output
	switch {
	case err != nil:
		none = fail(err)
	case !s.loaded():
		none = answer(codeNotLoaded, fmt.Sprintf("Could not find service %q", labelOf(target)))
	default:
		return s, nil
	}
	return nil, &none
}

// print writes what of launchctl's page has a meaning here.
func (l Launchctl) print(ctx context.Context, target string) launchd.Output {
	s, none := l.find(ctx, target)
	if none != nil {
		return *none
	}
	// A unit that is gone tells nothing of its job, which may live on.
	unit, err := smallfile.Read(l.path(l.Name(labelOf(target))+".service"), smallfile.Max)
	plist, argv := noted(unit)
	if err != nil || len(argv) == 0 {
		plist, argv = "(submitted by systemd)", []string{""}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s = {\n\tpath = %s\n\ttype = LaunchAgent\n\tstate = %s\n\n\tprogram = %s\n\targuments = {\n\t\t%s\n\t}\n\n",
		target, plist, s.state(), argv[0], strings.Join(argv, "\n\t\t"))
	runs := 0
	if s.number("ExecMainStartTimestampMonotonic") != 0 {
		runs = 1 + s.number("NRestarts")
	}
	fmt.Fprintf(&b, "\truns = %d\n", runs)
	if job, err := readJob(plist); err == nil && job.ExitTimeOut != nil {
		fmt.Fprintf(&b, "\texit timeout = %d\n", *job.ExitTimeOut)
	}
	if pid := s.number("MainPID"); pid != 0 {
		fmt.Fprintf(&b, "\tpid = %d\n", pid)
	}
	b.WriteString("\t" + s.lastExit() + "\n}\n")
	return launchd.Output{Stdout: []byte(b.String())}
}

func (s state) state() string {
	switch {
	case s["ActiveState"] == "deactivating":
		return "SIGTERMed"
	case s.number("MainPID") != 0:
		return "running"
	case s["ActiveState"] == "activating":
		return "spawn scheduled"
	}
	return "not running"
}

// lastExit is how the last run ended: ExecMainCode is a SIGCHLD code of
// sigaction(2), 1 for an exit, 2 and 3 for a signal.
func (s state) lastExit() string {
	status := s.number("ExecMainStatus")
	switch s.number("ExecMainCode") {
	case 1:
		return "last exit code = " + strconv.Itoa(status)
	case 2, 3:
		name := syscall.Signal(status).String()
		return fmt.Sprintf("last terminating signal = %s%s: %d", strings.ToUpper(name[:1]), name[1:], status)
	}
	return "last exit code = (never exited)"
}

// bootstrap writes the units of the plist, enables them and starts what
// launchd would start.
func (l Launchctl) bootstrap(ctx context.Context, plist string) launchd.Output {
	job, err := readJob(plist)
	if err != nil {
		return answer(codeBadPlist, err.Error())
	}
	name := l.Name(job.Label)
	s, err := l.show(ctx, job.Label)
	switch {
	case err != nil:
		return fail(err)
	case s.loaded():
		return answer(codeLoaded, plist+": service already bootstrapped")
	}
	content, err := Unit(job, plist)
	if err != nil {
		return answer(codeBadPlist, err.Error())
	}
	units := []string{name + ".service"}
	if err := l.write(units[0], content); err != nil {
		return answer(codeFailed, err.Error())
	}
	if content := SocketUnit(job); content != "" {
		units = append(units, name+".socket")
		if err := l.write(units[1], content); err != nil {
			return answer(codeFailed, err.Error())
		}
	}
	// Always, since a file may have been written by a command that was killed.
	if out := l.do(ctx, "daemon-reload"); out.Code != 0 {
		return out
	}
	if out := l.do(ctx, append([]string{"enable"}, units...)...); out.Code != 0 || !startsAtLoad(job) {
		return out
	}
	if len(units) > 1 {
		// First the socket: systemd refuses one whose service runs. If
		// somebody has its port, the service binds by itself as soon as it can.
		_, _ = l.systemctl(ctx, "start", units[1])
	}
	return l.do(ctx, "start", units[0])
}

// bootout returns while the service still has its SIGTERM, as launchctl does:
// to drain may take longer than a caller waits for a command.
func (l Launchctl) bootout(ctx context.Context, target string) launchd.Output {
	if _, none := l.find(ctx, target); none != nil {
		return *none
	}
	units := l.units(labelOf(target))
	if out := l.do(ctx, append([]string{"disable"}, units...)...); out.Code != 0 {
		return out
	}
	return l.do(ctx, append([]string{"stop", "--no-block"}, units...)...)
}

// units are those that a label has: the socket first, which would start the
// service again.
func (l Launchctl) units(label string) []string {
	units := []string{l.Name(label) + ".service"}
	if _, err := os.Lstat(l.path(l.Name(label) + ".socket")); err == nil {
		units = append([]string{l.Name(label) + ".socket"}, units...)
	}
	return units
}

func (l Launchctl) kickstart(ctx context.Context, args []string) launchd.Output {
	if len(args) == 0 {
		return answer(codeUsageError, "Usage: launchctl kickstart [-kp] <service-target>")
	}
	target, verb := args[len(args)-1], "start"
	s, none := l.find(ctx, target)
	switch {
	case none != nil:
		return *none
	case s["ActiveState"] == "deactivating":
		return answer(codeLoaded, "Could not kickstart service: Operation already in progress")
	case slices.Contains(args, "-k"):
		verb = "restart"
	}
	if out := l.do(ctx, verb, l.Name(labelOf(target))+".service"); out.Code != 0 {
		return out
	}
	s, err := l.show(ctx, labelOf(target))
	if err != nil {
		return fail(err)
	}
	return launchd.Output{Stdout: []byte(s["MainPID"] + "\n")}
}

func (l Launchctl) kill(ctx context.Context, signal, target string) launchd.Output {
	s, none := l.find(ctx, target)
	switch {
	case none != nil:
		return *none
	case s.number("MainPID") == 0:
		return answer(codeNoProcess, "No process to signal.")
	}
	return l.do(ctx, "kill", "--signal="+signal, l.Name(labelOf(target))+".service")
}

func (l Launchctl) getenv(ctx context.Context, name string) launchd.Output {
	out, err := l.systemctl(ctx, "show-environment")
	if err != nil {
		return fail(err)
	}
	for line := range strings.Lines(string(out)) {
		if value, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), name+"="); ok {
			return launchd.Output{Stdout: []byte(unquote(value) + "\n")}
		}
	}
	return launchd.Output{}
}

// unquote undoes the quoting by which systemctl shows a value with odd
// characters, $'…' as in a shell.
func unquote(s string) string {
	inner, ok := strings.CutPrefix(s, "$'")
	if !ok || !strings.HasSuffix(inner, "'") {
		return s
	}
	inner = strings.ReplaceAll(strings.TrimSuffix(inner, "'"), `\'`, "'")
	if v, err := strconv.Unquote(`"` + strings.ReplaceAll(inner, `"`, `\"`) + `"`); err == nil {
		return v
	}
	return inner
}
