package systemd

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/haltonlabs/halton-meter/internal/smallfile"
	"github.com/haltonlabs/halton-meter/launchd"
)

// The keys under which a unit notes from which plist and command it was made.
// systemd passes over names that begin with X- (systemd.unit(5)).
const (
	plistKey     = "X-LaunchdPlist"
	argumentsKey = "X-LaunchdArguments"
)

// Unit is the service unit of a job whose plist lies at path. What a unit
// cannot say of a job, this product's jobs do not ask for.
func Unit(job *launchd.Job, path string) (string, error) {
	args, err := json.Marshal(job.ProgramArguments)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%s=%s\n", key, value) }
	b.WriteString("# Written by \"halton-meter init\", which writes it anew.\n\n[Unit]\n")
	line("Description", "Halton Meter ("+job.Label+")")
	line("Documentation", "https://github.com/haltonlabs/halton-meter")
	// Like launchd: a job that fails is started again for ever, and a start by
	// hand is never refused. The default is 5 in 10 s.
	line("StartLimitIntervalSec", "0")
	line(plistKey, path)
	line(argumentsKey, string(args))

	b.WriteString("\n[Service]\n")
	line("Type", "exec")
	words := make([]string, len(job.ProgramArguments))
	for i, arg := range job.ProgramArguments {
		// In a command, unlike elsewhere, a $ begins a variable too.
		words[i] = strings.ReplaceAll(quote(arg), "$", "$$")
	}
	line("ExecStart", strings.Join(words, " "))
	for _, name := range slices.Sorted(maps.Keys(job.EnvironmentVariables)) {
		line("Environment", quote(name+"="+job.EnvironmentVariables[name]))
	}
	if keptAlive(job) {
		line("Restart", "always")
	}
	if job.ThrottleInterval != nil {
		line("RestartSec", strconv.Itoa(*job.ThrottleInterval))
	}
	if job.ExitTimeOut != nil {
		line("TimeoutStopSec", strconv.Itoa(*job.ExitTimeOut))
	}
	if l := job.SoftResourceLimits; l != nil && l.NumberOfFiles != nil {
		line("LimitNOFILE", strconv.Itoa(*l.NumberOfFiles))
	}
	// A service whose log cannot be opened is not started, as with launchd.
	for _, log := range [][2]string{{"StandardOutput", job.StandardOutPath}, {"StandardError", job.StandardErrorPath}} {
		if log[1] != "" {
			line(log[0], "append:"+strings.ReplaceAll(log[1], "%", "%%"))
		}
	}
	b.WriteString("\n[Install]\n")
	line("WantedBy", "default.target")
	return b.String(), nil
}

// SocketUnit is the unit that holds the job's listening sockets while the job
// is down; "" for a job without any.
func SocketUnit(job *launchd.Job) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(job.Sockets)) {
		for _, s := range job.Sockets[name].Values {
			if s.SockServiceName == nil || s.SockServiceName.Str == nil {
				continue
			}
			fmt.Fprintf(&b, "ListenStream=%s:%s\n", s.SockNodeName, *s.SockServiceName.Str)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "# Written by \"halton-meter init\", which writes it anew.\n\n[Unit]\n" +
		"Description=Halton Meter (the sockets of " + job.Label + ")\n\n" +
		"[Socket]\n" + b.String() +
		// Connections that come while the service is down wait for it; more
		// than these many in two seconds are no reason to give up on it.
		"TriggerLimitBurst=0\nBacklog=4096\n\n" +
		"[Install]\nWantedBy=sockets.target\n"
}

// quote makes s one word of a unit file: systemd.syntax(7), "Quoting", and
// systemd.unit(5), "Specifiers".
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "%", "%%").Replace(s) + `"`
}

func isTrue(b *bool) bool { return b != nil && *b }

func keptAlive(job *launchd.Job) bool { return job.KeepAlive != nil && job.KeepAlive.Always }

func startsAtLoad(job *launchd.Job) bool { return isTrue(job.RunAtLoad) || keptAlive(job) }

// noted reads what a unit of ours notes of its job.
func noted(unit []byte) (plist string, args []string) {
	for l := range strings.Lines(string(unit)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(l, "\n"), "=")
		switch key {
		case plistKey:
			plist = value
		case argumentsKey:
			if json.Unmarshal([]byte(value), &args) != nil {
				args = nil
			}
		}
	}
	return plist, args
}

func readJob(plist string) (*launchd.Job, error) {
	data, err := smallfile.Read(plist, smallfile.Max)
	if err != nil {
		return nil, err
	}
	return launchd.ParseJob(data)
}
