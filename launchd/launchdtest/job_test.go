package launchdtest_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/launchdtest"
)

// agentEnv makes the test binary the agent that a test installs.
const agentEnv = "LAUNCHDTEST_AGENT"

// agent greets who connects to the socket that launchd holds for it.
func agent() int {
	listeners, err := launchd.Listeners("Greeter")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		conn, err := listeners[0].Accept()
		if err != nil {
			return 1
		}
		fmt.Fprint(conn, os.Getpid())
		conn.Close()
	}
}

// The whole life of an agent in its own package's test: what it is installed
// with, that its socket never closes, and that nothing is left of it.
func TestTheTestBinaryIsTheJob(t *testing.T) {
	t.Parallel()
	client, domain := launchdtest.New(t), launchd.GUI(os.Getuid())
	service, err1 := domain.Service("com.example.greeter")
	self, err2 := os.Executable()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	dir := t.TempDir()
	plist, socket := filepath.Join(dir, "agent.plist"), filepath.Join(dir, "s")
	if _, err := client.Apply(t.Context(), domain, plist, &launchd.Job{
		Label: service.Label(), ProgramArguments: []string{self}, ThrottleInterval: new(1),
		EnvironmentVariables: map[string]string{agentEnv: "1"},
		Sockets:              map[string]launchd.OneOrMany[launchd.Socket]{"Greeter": launchd.ListenUnix(socket)},
	}, launchd.LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	greet := func() string {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		greeting, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		return string(greeting)
	}
	first := greet()
	pid, err := client.Restart(t.Context(), service)
	if second := greet(); err != nil || first == "" || second == first || pid != 0 && second != fmt.Sprint(pid) {
		t.Errorf("greetings %q and %q, process %d, %v", first, second, pid, err)
	}
	if err := client.Remove(t.Context(), service, plist); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("unix", socket); err == nil {
		t.Error("the socket outlives its job")
	}
}
