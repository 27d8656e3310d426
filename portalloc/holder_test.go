package portalloc

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFindHolder(t *testing.T) {
	port := freePorts(t, 1)[0]
	if h := FindHolder(t.Context(), port); h != (Holder{}) {
		t.Errorf("a free port has the holder %+v", h)
	}
	occupy(t, port)
	if h := FindHolder(t.Context(), port); h.PID != os.Getpid() || h.Command == "" {
		t.Errorf("holder = %+v, want pid %d and a command", h, os.Getpid())
	}
}

func TestParseLsof(t *testing.T) {
	out := "p101\ncnode\nu501\nf23\nPTCP\nn127.0.0.1:8090\nf24\nPTCP\nn192.0.2.7:8092\n" +
		"p7\ncevil\x1b[2J\nu0\nf3\nPTCP\nn*:8091\n" +
		"p8\ncipv6\nu1\nf3\nPTCP\nn[::1]:8093\nf4\nPTCP\nn127.0.0.1:8090\n" +
		"pnonsense\ncx\nn*:1\nn\nn:::\n\n"
	got := parseLsof([]byte(out))
	want := map[int]Holder{
		8090: {PID: 101, Command: "node", User: "501"},
		8091: {PID: 7, Command: "evil?[2J", User: "0"},
		8093: {PID: 8, Command: "ipv6", User: "1"},
	}
	if len(got) != len(want) {
		t.Errorf("got %+v", got)
	}
	for port, h := range want {
		if got[port] != h {
			t.Errorf("%d: %+v, want %+v", port, got[port], h)
		}
	}
}

func TestExhaustedErrorText(t *testing.T) {
	e := &ExhaustedError{Name: "api", Attempts: []Attempt{
		{Port: 1, Err: unix.EADDRINUSE, Holder: Holder{PID: 42, Command: "node", User: "501"}},
		{Port: 2, Err: unix.EADDRINUSE, Holder: Holder{User: "0"}},
		{Port: 3, Err: unix.EADDRINUSE},
		{Port: 4, Err: unix.EACCES},
		{Port: 5, Err: errors.New(`kept for "edge"`)},
		{Port: 6, Err: unix.EADDRINUSE, Holder: Holder{PID: 7}},
	}}
	want := `allocate port "api": every candidate is taken: 1 (node, pid 42), 2 (a process of user id 0), ` +
		`3 (in use), 4 (not permitted), 5 (kept for "edge"), 6 (unnamed, pid 7); ` +
		`free one of them, or pin another port in the configuration`
	if got := e.Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	e = &ExhaustedError{Name: "api", Pinned: true, Attempts: []Attempt{
		{Port: 1, Err: unix.EADDRINUSE, Holder: Holder{PID: 42}, Own: true},
	}}
	if got := e.Error(); !strings.HasPrefix(got, `allocate port "api": the pinned port is taken: 1 (our own older process, pid 42); stop process 42`) {
		t.Error(got)
	}
}
