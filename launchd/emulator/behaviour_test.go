package emulator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/process"
	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

// supervisorByFile makes the test binary a supervisor whose clock is a file,
// which a test can set while it lives and while it is dead.
const supervisorByFile = "supervisor-by-file"

func clockFile(dir string) string { return filepath.Join(dir, "clock") }
func pidFile(dir string) string   { return filepath.Join(dir, "pid") }

func superviseByFile() {
	if len(os.Args) != 5 || os.Args[1] != supervisorByFile {
		return
	}
	dir, test, id := os.Args[2], os.Args[3], os.Args[4]
	pid, err := strconv.Atoi(test)
	if err == nil {
		err = atomicfile.Write(pidFile(dir), []byte(strconv.Itoa(os.Getpid())), 0o600)
	}
	if err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		for process.Is(pid, id) {
			time.Sleep(100 * time.Millisecond)
		}
		stop()
	}()
	s := emulator.Supervisor{
		Dir: dir, IdleExit: -1,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Now:    func() time.Time { return time.Unix(int64(readInt(clockFile(dir))), 0) },
		// The clock stands still until somebody sets it, which no timer sees.
		After: func(time.Duration) <-chan time.Time { return time.After(time.Millisecond) },
	}
	if err := s.Run(ctx); err != nil && !errors.Is(err, emulator.ErrRunning) {
		panic(err)
	}
	os.Exit(0)
}

func readInt(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(string(text))
	return n
}

// world is a supervisor, one job at a time, and the model of it.
type world struct {
	*rapid.T
	model
	dir    string
	plist  string
	label  string
	client emulator.Launchctl
	done   []string
}

func (w *world) run(args ...string) (int, string) {
	var out, errs bytes.Buffer
	code := w.client.Run(context.Background(), args, &out, &errs)
	return code, out.String() + errs.String()
}

// command is a verb as launchctl wants it.
func (w *world) command(verb string) []string {
	target := gui + "/" + w.label
	switch verb {
	case "bootstrap":
		return []string{verb, gui, w.plist}
	case "start", "stop":
		return []string{verb, w.label}
	}
	return append(strings.Fields(verb), target)
}

func (w *world) fail(format string, args ...any) {
	w.Helper()
	log, _ := os.ReadFile(filepath.Join(w.dir, "launchd.log"))
	lines := strings.Split(string(log), "\n")
	w.Fatalf("%s\nafter: %s\nmodel: %v\nlog:\n%s", fmt.Sprintf(format, args...), strings.Join(w.done, ", "), &w.model,
		strings.Join(lines[max(0, len(lines)-20):], "\n"))
}

// agree waits until print says what the model does, and then counts processes.
func (w *world) agree() {
	w.Helper()
	var seen string
	for end := time.Now().Add(patience / 4); ; time.Sleep(time.Millisecond) {
		code, text := w.run("print", gui+"/"+w.label)
		if code == 113 && w.state == "" {
			break
		}
		s, err := launchd.ParseService([]byte(text))
		if code == 0 && err == nil {
			seen = fmt.Sprintf("state %q, runs %d", s.State, s.Runs)
			if s.State == w.state && s.Runs == w.runs && (s.PID != 0) == w.hasProcess() && w.ready(s.PID) {
				break
			}
		}
		if time.Now().After(end) {
			w.fail("print: %d, %s", code, seen)
		}
	}
	want := 0
	if w.hasProcess() {
		want = 1
	}
	// In the midst of an exec a process shows no environment.
	pids := processesOf(w.label)
	for end := time.Now().Add(patience / 4); len(pids) != want; pids = processesOf(w.label) {
		if time.Now().After(end) {
			w.fail("processes %v, want %d", pids, want)
		}
	}
}

// ready reports whether a stubborn process has come so far as to be stubborn.
func (w *world) ready(pid int) bool {
	if pid == 0 || !w.stubborn {
		return true
	}
	_, err := os.Stat(fmt.Sprintf("%s.%d", w.plist, pid))
	return err == nil
}

func (w *world) setClock(now int) {
	if err := atomicfile.Write(clockFile(w.dir), []byte(strconv.Itoa(now)), 0o600); err != nil {
		w.Fatal(err)
	}
	w.model.setClock(now)
}

func (w *world) pid() int {
	_, text := w.run("print", gui+"/"+w.label)
	s, err := launchd.ParseService([]byte(text))
	if err != nil {
		return 0
	}
	return s.PID
}

// crashSupervisor kills the supervisor, and lets things happen while nobody
// looks after the job.
func (w *world) crashSupervisor() {
	pid := w.pid()
	sup := readInt(pidFile(w.dir))
	id, err := process.ID(sup)
	if err != nil {
		return // there is none, for there is nothing to supervise
	}
	if err := syscall.Kill(sup, syscall.SIGKILL); err != nil {
		w.Fatal(err)
	}
	for process.Is(sup, id) {
		time.Sleep(time.Millisecond)
	}
	jump := rapid.SampledFrom([]int{0, 0, 7, 3600, -3600}).Draw(w.T, "meanwhile")
	dies := pid != 0 && rapid.Bool().Draw(w.T, "the job dies too")
	w.done = append(w.done, fmt.Sprintf("(clock %+d, job dies %v)", jump, dies))
	if dies {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			w.Fatal(err)
		}
		// The next supervisor sees the death when it comes, at the new time.
		if err := atomicfile.Write(clockFile(w.dir), []byte(strconv.Itoa(w.now+jump)), 0o600); err != nil {
			w.Fatal(err)
		}
		w.now += jump
		w.exited()
		return
	}
	w.setClock(w.now + jump)
}

func (w *world) write(label string) {
	script := "exec sleep 1000"
	if w.stubborn {
		// exec keeps ignored signals ignored.
		script = `trap "" TERM; : >"` + w.plist + `.$$"; ` + script
	}
	job := launchd.Job{
		Label: label, ProgramArguments: []string{"/bin/sh", "-c", script},
		RunAtLoad: &w.runAtLoad, ThrottleInterval: &w.throttle, ExitTimeOut: &w.exitTimeout,
	}
	switch {
	case w.always:
		job.KeepAlive = &launchd.KeepAlive{Always: true}
	case w.onFailure:
		job.KeepAlive = &launchd.KeepAlive{Conditions: &launchd.KeepAliveConditions{SuccessfulExit: new(false)}}
	}
	if w.interval > 0 {
		job.StartInterval = &w.interval
	}
	data, err := job.Encode()
	if err == nil {
		err = os.WriteFile(w.plist, data, 0o600)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// TestBehaviour throws verbs, crashes of the job and of the supervisor, and
// steps of the clock at a real supervisor with real processes.
func TestBehaviour(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	id, err := process.ID(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// The race detector would have each process linger for a second.
	client := emulator.Launchctl{Dir: dir, Start: []string{"/usr/bin/env", "GORACE=atexit_sleep_ms=0", self, supervisorByFile, dir, strconv.Itoa(os.Getpid()), id}}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := emulator.Stop(ctx, dir); err != nil {
			t.Error(err)
		}
	})
	rounds := 0
	rapid.Check(t, func(t *rapid.T) {
		rounds++
		w := &world{
			T: t, dir: dir, client: client,
			label: fmt.Sprintf("test.behaviour.%d.%d", os.Getpid(), rounds),
			plist: filepath.Join(dir, fmt.Sprintf("%d.plist", rounds)),
			model: model{
				runAtLoad:   rapid.Bool().Draw(t, "RunAtLoad"),
				throttle:    rapid.IntRange(1, 12).Draw(t, "ThrottleInterval"),
				exitTimeout: rapid.IntRange(1, 8).Draw(t, "ExitTimeOut"),
				stubborn:    rapid.Bool().Draw(t, "stubborn"),
				now:         readInt(clockFile(dir)),
			},
		}
		switch rapid.IntRange(0, 3).Draw(t, "KeepAlive") {
		case 0:
			w.always = true
		case 1:
			w.onFailure = true
		case 2:
			w.interval = rapid.IntRange(1, 30).Draw(t, "StartInterval")
		}
		w.write(w.label)
		defer w.leave()
		for range rapid.IntRange(3, 8).Draw(t, "steps") {
			w.act()
			w.agree()
		}
	})
}

func (w *world) act() {
	// Loading comes first: not much happens without.
	verbs := []string{"bootstrap", "enable"}
	if w.state != "" {
		verbs = []string{"bootstrap", "disable", "bootout", "kickstart", "start", "stop", "kill KILL", "kickstart -k", "clock", "clock", "clock", "crash", "supervisor"}
	}
	verb := rapid.SampledFrom(verbs).Draw(w.T, "verb")
	if strings.HasPrefix(verb, "kickstart") && w.stubborn && (w.state == ending || verb == "kickstart -k") && w.next != "remove" {
		verb = "clock" // kickstart would wait for the process, and the clock for kickstart
	}
	w.done = append(w.done, verb)
	switch verb {
	case "clock":
		by := rapid.SampledFrom([]int{1, 2, 5, 10, 3600, -1, -5, -3600}).Draw(w.T, "by")
		w.done = append(w.done, fmt.Sprintf("%+d", by))
		w.setClock(w.now + by)
		w.run("managername") // after this the supervisor has seen the clock
	case "crash":
		if pid := w.pid(); pid != 0 {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				w.Fatal(err)
			}
			w.exited()
		}
	case "supervisor":
		w.crashSupervisor()
	default:
		want := w.launchctl(verb)
		if code, text := w.run(w.command(verb)...); code != want {
			w.fail("launchctl %s = %d, want %d: %s", verb, code, want, text)
		}
	}
}

// leave ends the round, however it went: no process may be left.
func (w *world) leave() {
	w.run("bootout", gui+"/"+w.label)
	w.setClock(w.now + 10)
	w.model = model{now: w.now}
	w.agree()
}
