package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sudo halton-meter would lock the user out of the user's own home; where that
// has happened, what is said is that, and not that another command is at work.
func TestSudo(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Log("only root can give files away")
		return
	}
	m := newMachine(t, freePorts(t))
	m.must(0, "init")
	m.must(0, "stop")
	const user = 12345
	if err := os.Chown(m.home, user, user); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"init", "start", "stop"} {
		r := m.haltonWith([]string{"SUDO_UID=12345"}, command)
		if r.code != exitFailed || !strings.Contains(r.err, "halton-meter "+command+" as yourself, without sudo") {
			t.Errorf("sudo halton-meter %s: exit code %d, %q", command, r.code, r.err)
		}
		// A container's root with a mounted home is meant.
		if r := m.haltonWith([]string{"SUDO_UID="}, command); r.code != 0 {
			t.Errorf("root's halton-meter %s: exit code %d, %q", command, r.code, r.err)
		}
	}

	mine := filepath.Join(m.home, "mine")
	if err := exec.CommandContext(t.Context(), "sh", "-c", `cp "$1" "$2" && chmod 755 "$2" "${2%/*}" "${2%/*/*}"`, "", program, mine).Run(); err != nil {
		t.Fatal(err)
	}
	for command, says := range map[string]string{
		"init": "belongs to user 0", "start": "belongs to user 0", "start --quiet": "belongs to user 0",
		"stop": "sudo chown -R", "status": "belongs to user 0",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, mine, strings.Fields(command)...)
		cmd.Dir, cmd.Env = m.home, m.env
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		out, err := cmd.CombinedOutput()
		cancel()
		if err == nil || !strings.Contains(string(out), says) {
			t.Errorf("halton-meter %s: %v: %s", command, err, out)
		}
	}
}
