package portalloc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/process"
)

// freePorts finds n free ports. They lie below the range from which Linux
// and macOS take the ports of outgoing connections, so that nothing on the
// machine gets one by chance before the test has used it.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range 10_000 {
		if len(ports) == n {
			return ports
		}
		port := 20_000 + rand.IntN(12_000)
		if slices.Contains(ports, port) || wildcardFree("127.0.0.1", port) != nil {
			continue
		}
		ports = append(ports, port)
	}
	t.Fatalf("found only %d of %d free ports", len(ports), n)
	return nil
}

// occupy makes each port taken by a stranger for the time of the test.
func occupy(t testing.TB, ports ...int) {
	t.Helper()
	for _, port := range ports {
		ln := mustListen(t, port)
		t.Cleanup(func() { ln.Close() })
	}
}

func mustListen(t testing.TB, port int) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func mustNegotiate(t testing.TB, n Negotiation) *Allocation {
	t.Helper()
	a, err := n.Negotiate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func TestNegotiateChooses(t *testing.T) {
	p := freePorts(t, 4)
	for _, tt := range []struct {
		name   string
		taken  []int
		last   int // what the state file says, 0: no state file
		pinned bool
		want   int
	}{
		{name: "preferred", want: p[0]},
		{name: "fallback when taken", taken: p[:1], want: p[1]},
		{name: "second fallback", taken: p[:2], want: p[2]},
		{name: "sticky", last: p[2], want: p[2]},
		{name: "sticky taken", last: p[2], taken: p[2:3], want: p[0]},
		{name: "sticky and preferred taken", last: p[2], taken: []int{p[0], p[2]}, want: p[1]},
		{name: "last choice is no candidate", last: p[3], want: p[0]},
		{name: "pinned beats sticky", last: p[2], pinned: true, want: p[0]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			occupy(t, tt.taken...)
			state := filepath.Join(t.TempDir(), "ports.json")
			if tt.last != 0 {
				if err := (Record{Ports: map[string]int{"api": tt.last}}).Write(state); err != nil {
					t.Fatal(err)
				}
			}
			a := mustNegotiate(t, Negotiation{StateFile: state, Ports: []Port{
				{Name: "api", Preferred: p[0], Fallbacks: p[1:3], Pinned: tt.pinned},
			}})
			if got := a.Port("api"); got != tt.want {
				t.Errorf("port = %d, want %d of %v", got, tt.want, p)
			}
			if got := a.Listener("api").Addr().String(); got != fmt.Sprintf("127.0.0.1:%d", tt.want) {
				t.Errorf("listens on %s", got)
			}
			r, err := ReadRecord(state)
			if err != nil || r.Ports["api"] != tt.want || r.PID != os.Getpid() || !r.Live() {
				t.Errorf("record = %+v, %v", r, err)
			}
		})
	}
}

func TestNegotiateExhausted(t *testing.T) {
	p := freePorts(t, 4)
	occupy(t, p[1:]...)
	for _, tt := range []struct {
		name string
		port Port
		want []int
		hint string
	}{
		{"all taken", Port{Name: "api", Preferred: p[1], Fallbacks: p[2:]}, p[1:], "free one of them, or pin another port in the configuration"},
		{"pinned taken", Port{Name: "api", Preferred: p[1], Fallbacks: p[:1], Pinned: true}, p[1:2], "free it, or pin another port in the configuration"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Negotiation{Ports: []Port{
				{Name: "internal", Preferred: p[0]}, tt.port,
			}}.Negotiate(t.Context())
			var exhausted *ExhaustedError
			if !errors.As(err, &exhausted) || !errors.Is(err, unix.EADDRINUSE) {
				t.Fatalf("error = %v, want an ExhaustedError of EADDRINUSE", err)
			}
			var tried []int
			for _, a := range exhausted.Attempts {
				tried = append(tried, a.Port)
				if !strings.Contains(err.Error(), strconv.Itoa(a.Port)) {
					t.Errorf("%q does not name %d", err, a.Port)
				}
			}
			if !slices.Equal(tried, tt.want) || exhausted.Name != "api" {
				t.Errorf("tried %v for %q, want %v", tried, exhausted.Name, tt.want)
			}
			if !strings.HasSuffix(err.Error(), tt.hint) {
				t.Errorf("%q does not end with %q", err, tt.hint)
			}
			// The port that was to be had is free again.
			mustListen(t, p[0]).Close()
		})
	}
}

func TestNegotiateSeveralNames(t *testing.T) {
	p := freePorts(t, 4)
	t.Run("a pin is nobody else's candidate", func(t *testing.T) {
		a := mustNegotiate(t, Negotiation{Ports: []Port{
			{Name: "internal", Preferred: p[0], Fallbacks: p[1:2]},
			{Name: "api", Preferred: p[0], Pinned: true},
		}})
		if a.Port("internal") != p[1] || a.Port("api") != p[0] {
			t.Errorf("internal %d, api %d of %v", a.Port("internal"), a.Port("api"), p)
		}
	})
	t.Run("the kernel chooses last", func(t *testing.T) {
		a := mustNegotiate(t, Negotiation{Ports: []Port{{Name: "any"}, {Name: "api", Preferred: p[0]}}})
		if a.Port("any") == 0 || a.Port("api") != p[0] {
			t.Errorf("any %d, api %d", a.Port("any"), a.Port("api"))
		}
	})
	t.Run("ports of other names are kept", func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "ports.json")
		old := Record{Ports: map[string]int{"edge": p[0], "api": p[3]}, PID: 1 << 30}
		if err := old.Write(state); err != nil {
			t.Fatal(err)
		}
		a := mustNegotiate(t, Negotiation{
			StateFile: state,
			Known:     map[string]int{"other": p[1], "edge": 0},
			Ports:     []Port{{Name: "api", Preferred: p[0], Fallbacks: p[1:3]}},
		})
		if a.Port("api") != p[2] {
			t.Errorf("api = %d, want %d of %v", a.Port("api"), p[2], p)
		}
		r, err := ReadRecord(state)
		want := map[string]int{"edge": p[0], "other": p[1], "api": p[2]}
		if err != nil || fmt.Sprint(r.Ports) != fmt.Sprint(want) {
			t.Errorf("record %v, %v, want %v", r.Ports, err, want)
		}
	})
	t.Run("a pin takes a port that the record gave to another", func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "ports.json")
		old := Record{Ports: map[string]int{"internal": p[0]}, PID: 77, StartedAt: old}
		if err := old.Write(state); err != nil {
			t.Fatal(err)
		}
		mustNegotiate(t, Negotiation{
			StateFile: state, ForAnother: true,
			Ports: []Port{{Name: "edge", Preferred: p[0], Pinned: true}},
		})
		r, err := ReadRecord(state)
		if err != nil || r.Ports["internal"] != 0 || r.Ports["edge"] != p[0] {
			t.Errorf("record %v, %v", r.Ports, err)
		}
		if r.PID != 77 || !r.StartedAt.Equal(old.StartedAt) {
			t.Errorf("owner changed to %d, %v", r.PID, r.StartedAt)
		}
	})
}

func TestNegotiateRefusesBadConfiguration(t *testing.T) {
	for _, n := range []Negotiation{
		{Host: "0.0.0.0"},
		{Host: "localhost"},
		{Host: "192.0.2.1"},
		{Ports: []Port{{Name: ""}}},
		{Ports: []Port{{Name: "API"}}},
		{Ports: []Port{{Name: "a"}, {Name: "a"}}},
		{Ports: []Port{{Name: "a", Preferred: 65536}}},
		{Ports: []Port{{Name: "a", Preferred: -1}}},
		{Ports: []Port{{Name: "a", Preferred: 1, Fallbacks: []int{0}}}},
		{Ports: []Port{{Name: "a", Pinned: true}}},
		{Ports: []Port{{Name: "a", Preferred: 9, Pinned: true}, {Name: "b", Preferred: 9, Pinned: true}}},
		{Ports: []Port{{Name: "a", Preferred: 9, Pinned: true}}, Known: map[string]int{"b": 9}},
		{Ports: []Port{{Name: "a"}}, Known: map[string]int{"a": 9}},
		{Known: map[string]int{"a": 9, "b": 9}},
		{Known: map[string]int{"A": 9}},
	} {
		a, err := n.Negotiate(t.Context())
		if err == nil {
			a.Close()
			t.Errorf("%+v: no error", n)
		}
	}
}

func TestNegotiateSetsCorruptStateAside(t *testing.T) {
	p := freePorts(t, 2)
	for _, tt := range []struct {
		name  string
		spoil func(path string) error
	}{
		{"garbage", func(path string) error { return os.WriteFile(path, []byte("8090\n"), 0o600) }},
		{"half a record", func(path string) error {
			return os.WriteFile(path, fmt.Appendf(nil, `{"api_port":%d,"pid":1`, p[1]), 0o600)
		}},
		{"empty", func(path string) error { return os.WriteFile(path, nil, 0o600) }},
		{"huge", func(path string) error { return os.WriteFile(path, make([]byte, 4<<20), 0o600) }},
		{"fifo", func(path string) error { return unix.Mkfifo(path, 0o600) }},
		{"directory", func(path string) error { return os.Mkdir(path, 0o700) }},
		{"link to itself", func(path string) error { return os.Symlink(path, path) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "ports.json")
			if err := tt.spoil(state); err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			a := mustNegotiate(t, Negotiation{
				StateFile: state, LockFile: state + ".lock",
				Ports:  []Port{{Name: "api", Preferred: p[0], Fallbacks: p[1:]}},
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if a.Port("api") != p[0] {
				t.Errorf("port = %d, want the preferred %d", a.Port("api"), p[0])
			}
			if _, err := os.Lstat(state + ".corrupt"); err != nil {
				t.Error("not set aside:", err)
			}
			if !strings.Contains(log.String(), "level=WARN msg=portalloc.state.corrupt") {
				t.Errorf("no warning in %q", &log)
			}
			if r, err := ReadRecord(state); err != nil || r.Ports["api"] != p[0] {
				t.Errorf("record = %+v, %v", r, err)
			}
		})
	}
}

func TestNegotiateWithoutPlaceForTheRecord(t *testing.T) {
	p := freePorts(t, 1)
	_, err := Negotiation{
		StateFile: filepath.Join(t.TempDir(), "missing", "ports.json"),
		Ports:     []Port{{Name: "api", Preferred: p[0]}},
	}.Negotiate(t.Context())
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error = %v", err)
	}
	mustListen(t, p[0]).Close()
}

func TestNegotiateWaitsForTheLock(t *testing.T) {
	lock := filepath.Join(t.TempDir(), "lock")
	n := Negotiation{LockFile: lock, Ports: []Port{{Name: "api"}}}
	held := mustLock(t, lock)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Negotiate(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v, want canceled", err)
	}
	if err := held.Unlock(); err != nil {
		t.Fatal(err)
	}
	mustNegotiate(t, n)
}

func TestWildcardListenerCounts(t *testing.T) {
	ln, err := net.Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := portOf(ln)
	if err := wildcardFree("127.0.0.1", port); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("probe of %d: %v", port, err)
	}
	_, err = Negotiation{Ports: []Port{{Name: "api", Preferred: port}}}.Negotiate(t.Context())
	if !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("negotiate %d: %v", port, err)
	}
}

func TestRecordLive(t *testing.T) {
	var me Record
	me.own()
	if at, err := process.StartTime(me.PID); err != nil || !at.Equal(me.StartedAt) || me.PID != os.Getpid() {
		t.Fatalf("own = %+v, process.StartTime = %v, %v", me, at, err)
	}
	if !process.Is(me.PID, me.Process) {
		t.Fatalf("%q does not name this process", me.Process)
	}
	step := 24 * time.Hour // of the wall clock
	for _, tt := range []struct {
		name string
		r    Record
		want bool
	}{
		{"this process", me, true},
		{"after the clock was set back", Record{PID: me.PID, StartedAt: me.StartedAt.Add(step), Process: me.Process}, true},
		{"after it was set forward", Record{PID: me.PID, StartedAt: me.StartedAt.Add(-step), Process: me.Process}, true},
		{"its number and start, another process", Record{PID: me.PID, StartedAt: me.StartedAt, Process: me.Process + "0"}, false},
		{"another number", Record{PID: os.Getppid(), StartedAt: me.StartedAt, Process: me.Process}, false},
		{"of an older version", Record{PID: me.PID, StartedAt: me.StartedAt}, true},
		{"of an older version, another start", Record{PID: me.PID, StartedAt: old}, false},
		{"nobody yet", Record{}, false},
		{"nobody, with a process", Record{Process: me.Process}, false},
	} {
		if got := tt.r.Live(); got != tt.want {
			t.Errorf("%s: live = %v", tt.name, got)
		}
	}
}
