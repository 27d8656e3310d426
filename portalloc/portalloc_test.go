package portalloc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/process"
)

// childEnv makes the test binary a program that negotiates: its value is the
// state file and the candidates, separated by commas.
const childEnv = "PORTALLOC_TEST_CHILD"

func TestMain(m *testing.M) {
	if arg := os.Getenv(childEnv); arg != "" {
		os.Exit(child(strings.Split(arg, ",")))
	}
	os.Exit(m.Run())
}

// child negotiates "api", prints its port or "exhausted", and holds it until
// standard input ends.
func child(args []string) int {
	var candidates []int
	for _, a := range args[1:] {
		n, _ := strconv.Atoi(a)
		candidates = append(candidates, n)
	}
	alloc, err := Negotiation{
		StateFile: args[0], LockFile: args[0] + ".lock",
		Ports: []Port{{Name: "api", Preferred: candidates[0], Fallbacks: candidates[1:]}},
	}.Negotiate(context.Background())
	var exhausted *ExhaustedError
	switch {
	case errors.As(err, &exhausted):
		fmt.Println("exhausted")
	case err != nil:
		fmt.Println(err)
		return 1
	default:
		defer alloc.Close()
		fmt.Println(alloc.Port("api"))
	}
	bufio.NewReader(os.Stdin).ReadString('\n')
	return 0
}

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

// Calls at once on one tuple: each port has one owner, the others are told
// so, and nothing is left open.
func TestNegotiateParallel(t *testing.T) {
	const calls, owners = 100, 5
	p := freePorts(t, 2*owners)
	state := filepath.Join(t.TempDir(), "ports.json")
	n := Negotiation{
		StateFile: state, LockFile: state + ".lock",
		Ports: []Port{
			{Name: "internal", Preferred: p[0], Fallbacks: p[1:owners]},
			{Name: "api", Preferred: p[owners], Fallbacks: p[owners+1:]},
		},
	}
	var mu sync.Mutex
	var won []*Allocation
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			a, err := n.Negotiate(t.Context())
			mu.Lock()
			defer mu.Unlock()
			var exhausted *ExhaustedError
			if err == nil {
				won = append(won, a)
			} else if !errors.As(err, &exhausted) || len(exhausted.Attempts) != owners {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != owners {
		t.Errorf("%d calls got ports, want %d", len(won), owners)
	}
	owned := map[int]bool{}
	last, err := ReadRecord(state)
	if err != nil {
		t.Fatal(err)
	}
	whole := false
	for _, a := range won {
		for _, name := range []string{"internal", "api"} {
			port := a.Port(name)
			if owned[port] || !slices.Contains(p, port) {
				t.Errorf("%s: %d was given twice, or is no candidate", name, port)
			}
			owned[port] = true
		}
		whole = whole || last.Ports["internal"] == a.Port("internal") && last.Ports["api"] == a.Port("api")
	}
	if !whole {
		t.Errorf("record %v mixes two calls", last.Ports)
	}
	for _, a := range won {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, port := range p {
		mustListen(t, port).Close()
	}
}

// The same between processes, which share no Go runtime but the kernel.
func TestNegotiateProcesses(t *testing.T) {
	const processes, owners = 6, 3
	p := freePorts(t, owners)
	state := filepath.Join(t.TempDir(), "ports.json")
	arg := state
	for _, port := range p {
		arg += "," + strconv.Itoa(port)
	}
	var out []*bufio.Reader
	pidOf := map[string]int{}
	var pids []int
	for range processes {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+arg)
		cmd.Stderr = os.Stderr
		stdin, err1 := cmd.StdinPipe()
		stdout, err2 := cmd.StdoutPipe()
		if err := errors.Join(err1, err2, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stdin.Close(); cmd.Wait() })
		out = append(out, bufio.NewReader(stdout))
		pids = append(pids, cmd.Process.Pid)
	}
	exhausted := 0
	for i, r := range out {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		line = strings.TrimSpace(line)
		if line == "exhausted" {
			exhausted++
			continue
		}
		if port, err := strconv.Atoi(line); err != nil || !slices.Contains(p, port) || pidOf[line] != 0 {
			t.Errorf("a process got %q, want one of %v that no other got", line, p)
		}
		pidOf[line] = pids[i]
	}
	if exhausted != processes-owners {
		t.Errorf("%d processes were told to go, want %d", exhausted, processes-owners)
	}
	// All owners live, and the record names one: that one is ours, the
	// others are strangers who happen to run the same program.
	_, err := Negotiation{StateFile: state, Ports: []Port{
		{Name: "api", Preferred: p[0], Fallbacks: p[1:]},
	}}.Negotiate(t.Context())
	var e *ExhaustedError
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	r, err := ReadRecord(state)
	if err != nil || !r.Live() {
		t.Fatalf("record = %+v, %v", r, err)
	}
	for _, a := range e.Attempts {
		if want := pidOf[strconv.Itoa(a.Port)]; a.Holder.PID != want {
			t.Errorf("holder of %d = %+v, want pid %d", a.Port, a.Holder, want)
		}
		if want := a.Port == r.Ports["api"]; a.Own != want {
			t.Errorf("own %d = %v, want %v", a.Port, a.Own, want)
		}
	}
	want := fmt.Sprintf("stop process %d, which is an older one of ours", r.PID)
	if !strings.Contains(e.Error(), want) {
		t.Errorf("%q does not say %q", e, want)
	}
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
	pid, started := self()
	if at, err := process.StartTime(pid); err != nil || !at.Equal(started) {
		t.Fatalf("self = %v, process.StartTime = %v, %v", started, at, err)
	}
	for _, tt := range []struct {
		name string
		r    Record
		want bool
	}{
		{"this process", Record{PID: pid, StartedAt: started}, true},
		{"its number, another start", Record{PID: pid, StartedAt: old}, false},
		{"nobody yet", Record{}, false},
	} {
		if got := tt.r.Live(); got != tt.want {
			t.Errorf("%s: live = %v", tt.name, got)
		}
	}
}
