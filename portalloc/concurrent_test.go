package portalloc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
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

// Calls at once on one tuple: each port has one owner, the others are told
// so and by whom, and nothing is left open.
func TestNegotiateParallel(t *testing.T) {
	t.Run("with a lock", func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "ports.json")
		won, p := negotiateParallel(t, 100, Negotiation{StateFile: state, LockFile: state + ".lock"})
		if len(won) != parallelOwners {
			t.Errorf("%d calls got ports, want %d", len(won), parallelOwners)
		}
		last, err := ReadRecord(state)
		if err != nil {
			t.Fatal(err)
		}
		whole := false
		for _, a := range won {
			whole = whole || last.Ports["internal"] == a.Port("internal") && last.Ports["api"] == a.Port("api")
		}
		if !whole {
			t.Errorf("record %v mixes two calls", last.Ports)
		}
		release(t, won, p)
	})
	// Then calls may be in each other's way, so that not all ports are given
	// away, but still none is twice.
	t.Run("without", func(t *testing.T) {
		won, p := negotiateParallel(t, 20, Negotiation{})
		release(t, won, p)
	})
}

const parallelOwners = 5

// negotiateParallel makes calls at once for two names of parallelOwners
// candidates each, and checks what they get.
func negotiateParallel(t *testing.T, calls int, n Negotiation) (won []*Allocation, p []int) {
	t.Helper()
	p = freePorts(t, 2*parallelOwners)
	n.Ports = []Port{
		{Name: "internal", Preferred: p[0], Fallbacks: p[1:parallelOwners]},
		{Name: "api", Preferred: p[parallelOwners], Fallbacks: p[parallelOwners+1:]},
	}
	before := descriptors(t)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			a, err := n.Negotiate(t.Context())
			mu.Lock()
			defer mu.Unlock()
			var exhausted *ExhaustedError
			switch {
			case err == nil:
				won = append(won, a)
			case !errors.As(err, &exhausted) || len(exhausted.Attempts) != parallelOwners:
				t.Error(err)
			case n.LockFile != "":
				for _, attempt := range exhausted.Attempts {
					if attempt.Holder.PID != os.Getpid() || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
						t.Errorf("%d is held by %+v, and the text is %q", attempt.Port, attempt.Holder, err)
					}
				}
			}
		})
	}
	wg.Wait()
	owned := map[int]bool{}
	for _, a := range won {
		for _, name := range []string{"internal", "api"} {
			port := a.Port(name)
			if owned[port] || !slices.Contains(p, port) {
				t.Errorf("%s: %d was given twice, or is no candidate", name, port)
			}
			owned[port] = true
		}
	}
	if got, want := descriptors(t)-before, 2*len(won); got != want {
		t.Errorf("%d descriptors more than before, want %d for %d owners", got, want, len(won))
	}
	t.Cleanup(func() {
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors were open before, and %d are", before, after)
		}
	})
	return won, p
}

// release closes what was won and checks that all ports are free again.
func release(t *testing.T, won []*Allocation, p []int) {
	t.Helper()
	for _, a := range won {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, port := range p {
		mustListen(t, port).Close()
	}
}

// descriptors counts those of this process; Linux and macOS both have
// /dev/fd. The runtime opens its own with the first socket.
func descriptors(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	all, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
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
