package launchd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
)

// script is a launchctl that is a real process.
func script(t *testing.T, body string) *launchd.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "launchctl")
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	return &launchd.Client{Command: []string{"/bin/sh", path}}
}

func TestLoadThroughAProcess(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	c := script(t, `echo "$@" >>`+log+`
case $1 in
bootstrap)
	[ $(grep -c ^bootstrap `+log+`) -gt 3 ] && exit 0
	echo "Bootstrap failed: 5: Input/output error" >&2; exit 5;;
print) echo "Could not find service" >&2; exit 113;;
print-disabled) printf 'disabled services = {\n\t"com.example.agent" => false\n}\n';;
esac
`)
	plist := writePlist(t, nil)
	res, err := c.Load(t.Context(), domain, plist, launchd.LoadOptions{BaseDelay: time.Millisecond, Budget: time.Hour})
	if err != nil || len(res.Attempts) != 3 {
		t.Fatalf("Load = %+v, %v, want 3 attempts that failed", res, err)
	}
	for i := 1; i < 3; i++ {
		if a, b := res.Attempts[i-1], res.Attempts[i]; b.Delay <= a.Delay || b.At.Sub(a.At) < b.Delay || b.Stderr != "Bootstrap failed: 5: Input/output error\n" {
			t.Errorf("attempt %+v after %+v", b, a)
		}
	}
	calls, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	first := fmt.Sprintf("enable gui/501/%s\nbootstrap gui/501 %s\nprint gui/501/%s\n", label, plist, label)
	if !strings.HasPrefix(string(calls), first) {
		t.Errorf("calls:\n%s", calls)
	}
}

func TestProcessesThatMisbehave(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancelCause(t.Context())
	why := errors.New("not wanted any more")
	cancel(why)
	tests := map[string]struct {
		body    string
		ctx     context.Context
		timeout time.Duration
		want    error
		says    string
	}{
		"hangs":            {"exec cat " + fifo, t.Context(), 50 * time.Millisecond, launchd.ErrNoAnswer, "launchctl list"},
		"cancelled":        {"exit 0", gone, 0, why, "launchctl list"},
		"dies by a signal": {"kill -KILL $$", t.Context(), 0, nil, "killed"},
		"says too much":    {"head -c 50000000 /dev/zero", t.Context(), 0, nil, "larger than 4194304 bytes"},
		"exits 113":        {"echo Could not find it >&2; exit 113", t.Context(), 0, launchd.ErrNotLoaded, "Could not find it"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := script(t, tt.body)
			c.Timeout = tt.timeout
			_, err := c.List(tt.ctx)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error = %v, want %v and %q", err, tt.want, tt.says)
			}
		})
	}
	t.Run("does not exist", func(t *testing.T) {
		c := launchd.Client{Command: []string{filepath.Join(t.TempDir(), "launchctl")}}
		if err := c.Bootout(t.Context(), target(t)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error = %v", err)
		}
	})
	// The supervisor that an emulator's launchctl starts may keep its output.
	t.Run("leaves a child that holds its output", func(t *testing.T) {
		f, err := os.OpenFile(fifo, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() // ends the child
		c := script(t, "cat "+fifo+" &\necho value")
		if v, err := c.Getenv(t.Context(), "KEY"); v != "value" || err != nil {
			t.Errorf("Getenv = %q, %v", v, err)
		}
		if _, err := f.WriteString("\n"); err != nil {
			t.Error(err)
		}
	})
	t.Run("environment", func(t *testing.T) {
		c := script(t, `echo "$GREETING $1 $2"`)
		c.Env = []string{"GREETING=hello"}
		if v, err := c.Getenv(t.Context(), "KEY"); v != "hello getenv KEY" || err != nil {
			t.Errorf("Getenv = %q, %v", v, err)
		}
	})
}
