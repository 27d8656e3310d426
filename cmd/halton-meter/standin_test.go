package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
)

// The variables that tell the stand-in what to do.
const (
	standInProgram  = "STAND_IN_PROGRAM"  // the program whose launchctl answers
	standInRefusals = "STAND_IN_REFUSALS" // bootstraps of the daemon that it refuses
	standInLog      = "STAND_IN_LOG"      // where it notes their times
	standInNobody   = "STAND_IN_NOBODY"   // set: nobody is logged in at the screen
)

// standIn is a launchctl that refuses the first bootstraps of the daemon with
// 5, as the real one does while a label is torn down, and hands everything
// else to the program's own launchctl.
func standIn() int {
	args := os.Args[1:]
	if os.Getenv(standInNobody) != "" && len(args) > 0 {
		// As a macOS that was entered over ssh answers.
		switch args[0] {
		case "print":
			fmt.Fprintf(os.Stderr, "Bad request.\nCould not find domain for user gui: %d\n", os.Getuid())
			return 112
		case "bootstrap", "bootout", "kickstart", "print-disabled":
			fmt.Fprintf(os.Stderr, "%s failed: 125: Domain does not support specified action\n", args[0])
			return 125
		}
		return 0
	}
	if len(args) == 3 && args[0] == "bootstrap" && filepath.Base(args[2]) == agents.Daemon+".plist" {
		f, err := os.OpenFile(os.Getenv(standInLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		fmt.Fprintln(f, time.Now().UnixMilli())
		f.Close()
		data, err := os.ReadFile(os.Getenv(standInLog))
		if err != nil {
			panic(err)
		}
		if n, err := strconv.Atoi(os.Getenv(standInRefusals)); err != nil || strings.Count(string(data), "\n") <= n {
			fmt.Fprintln(os.Stderr, "Bootstrap failed: 5: Input/output error")
			fmt.Fprintln(os.Stderr, "Try re-running the command as root for richer errors.")
			return 5
		}
	}
	program := os.Getenv(standInProgram)
	err := syscall.Exec(program, append([]string{program, "launchctl"}, args...), os.Environ())
	panic(err)
}

// standIn is a launchctl that is this binary.
func (m *machine) standIn() (path string) {
	m.Helper()
	path = filepath.Join(m.TempDir(), "launchctl")
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, path)
	}
	if err != nil {
		m.Fatal(err)
	}
	return path
}

// refuse puts the stand-in in launchctl's place and returns its log.
func (m *machine) refuse(n int) (log string) {
	m.Helper()
	launchctl := m.standIn()
	log = filepath.Join(filepath.Dir(launchctl), "bootstraps")
	m.env = append(m.env,
		"HALTON_METER_LAUNCHCTL="+launchctl,
		standInProgram+"="+m.paths().Program(),
		standInRefusals+"="+strconv.Itoa(n),
		standInLog+"="+log)
	return log
}

// bootstrapTimes are the milliseconds at which the daemon was bootstrapped.
func bootstrapTimes(t *testing.T, log string) []int64 {
	t.Helper()
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var times []int64
	for s := range strings.FieldsSeq(string(data)) {
		ms, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, ms)
	}
	return times
}

// checkPostmortem wants one complete line.
func (m *machine) checkPostmortem() {
	m.Helper()
	data, err := os.ReadFile(m.paths().Postmortem())
	if err != nil {
		m.Fatal(err)
	}
	if n := strings.Count(string(data), "\n"); n != 1 {
		m.Fatalf("%d lines of post-mortem, want 1", n)
	}
	var line map[string]json.RawMessage
	if err := json.Unmarshal(data, &line); err != nil {
		m.Fatal(err)
	}
	for _, key := range []string{"time", "label", "domain", "plist", "owner", "mode", "attempts", "print", "disabled", "os_version"} {
		if len(line[key]) == 0 {
			m.Errorf("the post-mortem lacks %s", key)
		}
	}
	var attempts []struct {
		At      time.Time `json:"at"`
		DelayMS *float64  `json:"delay_ms"`
		Code    int       `json:"code"`
		Stderr  string    `json:"stderr"`
	}
	if err := json.Unmarshal(line["attempts"], &attempts); err != nil {
		m.Fatal(err)
	}
	if len(attempts) < 3 {
		m.Errorf("%d attempts", len(attempts))
	}
	for i, a := range attempts {
		if a.At.IsZero() || a.DelayMS == nil || a.Code != 5 || !strings.Contains(a.Stderr, "Input/output error") {
			m.Errorf("attempt %d: %+v", i, a)
		}
	}
	var label string
	if err := json.Unmarshal(line["label"], &label); err != nil || label != agents.Daemon {
		m.Errorf("label %s", line["label"])
	}
}
