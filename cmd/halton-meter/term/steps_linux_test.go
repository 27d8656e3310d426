package term_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
)

// terminal opens a pseudo-terminal (pty(7)) of so many columns.
func terminal(t *testing.T, columns uint16) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { user.Close() })
	fd := int(user.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return user, program
}

// No line of what moves, and no frame, is wider than the terminal.
func TestStepsOnATerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	for _, c := range []struct {
		columns uint16
		panel   bool
	}{{80, true}, {20, false}, {1, false}} {
		user, program := terminal(t, c.columns)
		s := term.NewSteps(program, len("watchdog registered"))
		s.Waiting("registering the watchdog")
		s.Done("watchdog registered", "com.example.watchdog")
		s.Close()
		fmt.Fprint(program, "\x00")
		var out []byte
		for !strings.HasSuffix(string(out), "\x00") {
			b := make([]byte, 4096)
			n, err := user.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, b[:n]...)
		}
		if got := strings.Contains(string(out), "╭"); got != c.panel {
			t.Errorf("%d columns: a panel %v: %q", c.columns, got, out)
		}
		_, moving, _ := strings.Cut(string(out), "\r\x1b[K")
		moving, _, _ = strings.Cut(moving, "\r\x1b[K")
		for _, style := range []string{"\x1b[2m", "\x1b[m", "\x1b[0m"} {
			moving = strings.ReplaceAll(moving, style, "")
		}
		if n := len([]rune(moving)); n >= int(c.columns) || n == 0 && c.columns > 1 {
			t.Errorf("%d columns: %q moves", c.columns, moving)
		}
		if !strings.Contains(string(out), "com.example.watchdog") {
			t.Errorf("%d columns: %q", c.columns, out)
		}
	}
}
