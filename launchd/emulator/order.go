package emulator

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/launchd"
)

// launchd's defaults: the "default environment" of every print, and the umask
// of a user's domain.
const (
	defaultPath  = "/usr/bin:/bin:/usr/sbin:/sbin"
	defaultUmask = 0o022
)

// orderFor is what a process must do to become the job. inherited is the
// table of launchctl setenv.
func orderFor(job *launchd.Job, inherited map[string]string) (order, error) {
	program, err := programOf(job)
	if err != nil {
		return order{}, err
	}
	o := order{
		Program: program,
		Args:    job.ProgramArguments,
		Env:     environment(job, inherited),
		Dir:     job.WorkingDirectory,
		Stdin:   job.StandardInPath,
		Stdout:  job.StandardOutPath,
		Stderr:  job.StandardErrorPath,
		Umask:   umaskOf(job),
		Limits:  limitsOf(job),
	}
	if len(o.Args) == 0 {
		o.Args = []string{job.Program}
	}
	if o.Dir == "" {
		o.Dir = "/"
	}
	if job.Nice != nil {
		o.Nice = *job.Nice
	}
	return o, nil
}

// programOf looks a bare name up in launchd's own path, not in the job's.
func programOf(job *launchd.Job) (string, error) {
	name := job.Program
	if name == "" && len(job.ProgramArguments) > 0 {
		name = job.ProgramArguments[0]
	}
	switch {
	case name == "":
		return "", errors.New("find program: the job names none")
	case strings.Contains(name, "/"):
		return name, nil
	}
	for _, dir := range filepath.SplitList(defaultPath) {
		path := filepath.Join(dir, name)
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find program: %s is not in %s", name, defaultPath)
}

// environment lets nothing of the supervisor's own environment through but
// who and where the user is.
func environment(job *launchd.Job, inherited map[string]string) []string {
	env := identity()
	env["PATH"] = defaultPath
	maps.Copy(env, inherited)
	maps.Copy(env, job.EnvironmentVariables)
	env["XPC_SERVICE_NAME"] = job.Label
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

func identity() map[string]string {
	env := map[string]string{"SHELL": "/bin/sh", "TMPDIR": os.TempDir()}
	if u, err := user.Current(); err == nil {
		env["HOME"], env["USER"], env["LOGNAME"] = u.HomeDir, u.Username, u.Username
	}
	for _, name := range []string{"HOME", "USER", "LOGNAME", "SHELL"} {
		if v := os.Getenv(name); v != "" {
			env[name] = v
		}
	}
	return env
}

func umaskOf(job *launchd.Job) int {
	u := job.Umask
	if u == nil {
		return defaultUmask
	}
	if u.Str == nil {
		return u.Int & 0o777
	}
	// Base 0 reads a leading 0 as octal, like strtoul(3).
	n, err := strconv.ParseUint(*u.Str, 0, 32)
	if err != nil {
		return defaultUmask
	}
	return int(n) & 0o777
}

func limitsOf(job *launchd.Job) []limit {
	soft, hard := job.SoftResourceLimits, job.HardResourceLimits
	if soft == nil {
		soft = new(launchd.ResourceLimits)
	}
	if hard == nil {
		hard = new(launchd.ResourceLimits)
	}
	var limits []limit
	for _, l := range []limit{
		limitOf(unix.RLIMIT_NOFILE, soft.NumberOfFiles, hard.NumberOfFiles),
		limitOf(unix.RLIMIT_CORE, soft.Core, hard.Core),
		limitOf(unix.RLIMIT_CPU, soft.CPU, hard.CPU),
		limitOf(unix.RLIMIT_DATA, soft.Data, hard.Data),
		limitOf(unix.RLIMIT_FSIZE, soft.FileSize, hard.FileSize),
		limitOf(unix.RLIMIT_MEMLOCK, soft.MemoryLock, hard.MemoryLock),
		limitOf(unix.RLIMIT_NPROC, soft.NumberOfProcesses, hard.NumberOfProcesses),
		limitOf(unix.RLIMIT_RSS, soft.ResidentSetSize, hard.ResidentSetSize),
		limitOf(unix.RLIMIT_STACK, soft.Stack, hard.Stack),
	} {
		if l.Soft != nil || l.Hard != nil {
			limits = append(limits, l)
		}
	}
	return limits
}

func limitOf(resource int, soft, hard *int) limit {
	value := func(n *int) *uint64 {
		if n == nil || *n < 0 {
			return nil
		}
		return new(uint64(*n))
	}
	return limit{Resource: resource, Soft: value(soft), Hard: value(hard)}
}
