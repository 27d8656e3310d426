package systemd_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/systemd"
	"github.com/haltonlabs/halton-meter/launchd"
)

// handed names the child that takes a socket of systemd's.
const handed = "TAKE_SOCKETS_OF_SYSTEMD"

func TestMain(m *testing.M) {
	if os.Getenv(handed) != "" {
		// systemd knows the pid before it executes the program; a test does not.
		if os.Getenv("LISTEN_PID") == "" {
			os.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
		}
		takeSockets()
		return
	}
	os.Exit(m.Run())
}

func takeSockets() {
	for range 2 { // the second time there are none
		listeners, err := systemd.Listeners()
		if err != nil {
			fmt.Println("error:", err)
		}
		fmt.Println(len(listeners), os.Getenv("LISTEN_FDS"))
		for _, ln := range listeners {
			conn, err := ln.Accept()
			if err != nil {
				fmt.Println("error:", err)
				continue
			}
			io.WriteString(conn, "from the child")
			conn.Close()
		}
	}
}

func TestListeners(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	socket, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	// It waits in the queue until the child takes the socket.
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	child := func(env ...string) string {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), append(env, handed+"=yes", "LISTEN_FDS=1")...)
		cmd.ExtraFiles = []*os.File{socket}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if got := child("LISTEN_PID=1"); got != "0 \n0 \n" {
		t.Errorf("meant for another process: %q", got)
	}
	if got := child(); got != "1 \n0 \n" {
		t.Errorf("the child says %q", got)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "from the child" {
		t.Errorf("got %q, %v", got, err)
	}
}

// odd is a job with all that has to be quoted.
func odd() *launchd.Job {
	limits := &launchd.ResourceLimits{NumberOfFiles: new(16384)}
	return &launchd.Job{
		Label:                "com.example.agent",
		ProgramArguments:     []string{"/bin/sh", "-c", `echo "$HOME" 50% \n`},
		EnvironmentVariables: map[string]string{"HTTPS_PROXY": "", "GREETING": `say "hi" to $USER at 100%`},
		KeepAlive:            &launchd.KeepAlive{Always: true},
		ThrottleInterval:     new(1),
		ExitTimeOut:          new(10),
		SoftResourceLimits:   limits,
		StandardErrorPath:    "/tmp/a b%.log",
		Sockets: map[string]launchd.OneOrMany[launchd.Socket]{"Listeners": launchd.One(launchd.Socket{
			SockNodeName: "127.0.0.1", SockServiceName: &launchd.IntOrString{Str: new("8081")},
		})},
	}
}

const oddUnit = `# Written by "halton-meter init", which writes it anew.

[Unit]
Description=Halton Meter (com.example.agent)
Documentation=https://github.com/haltonlabs/halton-meter
StartLimitIntervalSec=0
X-LaunchdPlist=/tmp/com.example.agent.plist
X-LaunchdArguments=["/bin/sh","-c","echo \"$HOME\" 50% \\n"]

[Service]
Type=exec
ExecStart="/bin/sh" "-c" "echo \"$$HOME\" 50%% \\n"
Environment="GREETING=say \"hi\" to $USER at 100%%"
Environment="HTTPS_PROXY="
Restart=always
RestartSec=1
TimeoutStopSec=10
LimitNOFILE=16384
StandardError=append:/tmp/a b%%.log

[Install]
WantedBy=default.target
`

const oddSocket = `# Written by "halton-meter init", which writes it anew.

[Unit]
Description=Halton Meter (the sockets of com.example.agent)

[Socket]
ListenStream=127.0.0.1:8081
TriggerLimitBurst=0
Backlog=4096

[Install]
WantedBy=sockets.target
`

func TestUnits(t *testing.T) {
	got, err := systemd.Unit(odd(), "/tmp/com.example.agent.plist")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(oddUnit, got); diff != "" {
		t.Errorf("service: %s", diff)
	}
	if diff := cmp.Diff(oddSocket, systemd.SocketUnit(odd())); diff != "" {
		t.Errorf("socket: %s", diff)
	}
	once := odd()
	once.KeepAlive, once.Sockets = nil, nil
	if got, err := systemd.Unit(once, ""); err != nil || strings.Contains(got, "Restart=") {
		t.Errorf("a job without KeepAlive: %v\n%s", err, got)
	}
	if got := systemd.SocketUnit(once); got != "" {
		t.Errorf("a job without sockets: %s", got)
	}
}

// systemd's own check of the units, where it is installed.
func TestUnitsVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not installed")
		return
	}
	dir := t.TempDir()
	for name, content := range map[string]string{"agent.service": oddUnit, "agent.socket": oddSocket} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(analyze, "verify", "--user", "--man=no", filepath.Join(dir, "agent.service"), filepath.Join(dir, "agent.socket"))
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "agent.") {
			t.Errorf("systemd-analyze: %s", line)
		}
	}
	t.Logf("%v: %s", err, out)
}

// fake puts a systemctl in the path that answers with a script.
func fake(t *testing.T, script string) systemd.Launchctl {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return systemd.Launchctl{Dir: filepath.Join(dir, "user"), Name: func(label string) string { return label }}
}

// What systemctl 252 shows of a unit, and what launchctl would say of it.
func TestPrint(t *testing.T) {
	target, err := launchd.GUI(501).Service("com.example.agent")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		show  string
		want  error
		check func(*launchd.Service) bool
	}{
		"unknown":              {"UnitFileState=\nActiveState=inactive", launchd.ErrNotLoaded, nil},
		"disabled":             {"UnitFileState=disabled\nActiveState=inactive", launchd.ErrNotLoaded, nil},
		"killed while stopped": {"UnitFileState=disabled\nActiveState=failed", launchd.ErrNotLoaded, nil},
		"never ran": {
			"UnitFileState=enabled\nActiveState=inactive\nMainPID=0\nExecMainCode=0\nExecMainStatus=0", nil,
			func(s *launchd.Service) bool { return s.State == "not running" && s.LastExitCode == nil && s.Runs == 0 },
		},
		"running": {
			"UnitFileState=enabled\nActiveState=active\nMainPID=42\nNRestarts=2\nExecMainStartTimestampMonotonic=7", nil,
			func(s *launchd.Service) bool { return s.State == "running" && s.PID == 42 && s.Runs == 3 },
		},
		"draining": {"UnitFileState=disabled\nActiveState=deactivating\nMainPID=42", nil, (*launchd.Service).Draining},
		"between two runs": {
			"UnitFileState=enabled\nActiveState=activating\nMainPID=0\nExecMainCode=1\nExecMainStatus=3", nil,
			func(s *launchd.Service) bool { return s.State == "spawn scheduled" && *s.LastExitCode == 3 },
		},
		"killed": {
			"UnitFileState=enabled\nActiveState=failed\nMainPID=0\nExecMainCode=2\nExecMainStatus=9", nil,
			func(s *launchd.Service) bool { return s.State == "not running" && s.LastSignal == "Killed: 9" },
		},
		"no bus": {"' >&2; echo 'Failed to connect to bus: No medium found' >&2; exit 1; echo '", launchd.ErrNoDomain, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := fake(t, "echo '"+tt.show+"'\n")
			c := &launchd.Client{Run: func(ctx context.Context, argv, _ []string) (launchd.Output, error) { return l.Run(ctx, argv[1:]) }}
			svc, err := c.Print(t.Context(), target)
			if !isClass(err, tt.want) || err == nil && !tt.check(svc) {
				t.Errorf("got %+v, %v", svc, err)
			}
		})
	}
}

func isClass(err, class error) bool {
	if class == nil || err == nil {
		return err == class
	}
	e, ok := err.(*launchd.Error)
	return ok && e.Is(class)
}

// Values come back from systemd's environment as they were set.
func TestGetenv(t *testing.T) {
	l := fake(t, `printf '%s\n' 'PLAIN=http://127.0.0.1:8081' "ODD=\$'a b\\'s \"c\" \\\\ d'"`)
	for name, want := range map[string]string{"PLAIN": "http://127.0.0.1:8081", "ODD": `a b's "c" \ d`, "NONE": ""} {
		c := &launchd.Client{Run: func(ctx context.Context, argv, _ []string) (launchd.Output, error) { return l.Run(ctx, argv[1:]) }}
		if got, err := c.Getenv(t.Context(), name); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
}
