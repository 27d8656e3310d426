package emulator_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
	"github.com/haltonlabs/halton-meter/launchd/launchdtest"
)

func TestMain(m *testing.M) {
	emulator.XPCProxy()
	serveAsJob()
	superviseByFile()
	launchdtest.Main(m)
}

// patience bounds waits that would else hang; no test measures with it.
const patience = time.Minute

var gui = fmt.Sprintf("gui/%d", os.Getuid())

// bench is an emulator with one job, a shell script that reports to the test.
type bench struct {
	*launchdtest.Emulator
	t     *testing.T
	label string
	plist string
	job   launchd.Job
	out   *bufio.Reader
	fifo  *os.File
}

// newBench prepares a job that runs script with sh. What the script writes to
// descriptor 3 comes out of next.
func newBench(t *testing.T, knobs emulator.Knobs, script string) *bench {
	t.Helper()
	dir := t.TempDir()
	label := "test." + strings.ReplaceAll(t.Name(), "/", ".") + "." + filepath.Base(filepath.Dir(dir))
	// Cleanups run in reverse order, so this one comes after the emulator's.
	t.Cleanup(func() { noneLeft(t, label) })
	b := &bench{Emulator: launchdtest.Start(t, knobs), t: t, label: label}
	b.plist = filepath.Join(dir, "job.plist")
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	b.fifo, b.out = f, bufio.NewReader(f)
	b.job = launchd.Job{
		Label:            b.label,
		ProgramArguments: []string{"/bin/sh", "-c", "exec 3>" + fifo + "\n" + script},
		ThrottleInterval: new(1),
	}
	return b
}

// bootstrap writes the plist and loads it.
func (b *bench) bootstrap() {
	b.t.Helper()
	b.write()
	b.ok("bootstrap", gui, b.plist)
}

func (b *bench) write() {
	b.t.Helper()
	data, err := b.job.Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(b.plist, data, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) target() string { return gui + "/" + b.label }

// ok runs launchctl, which must succeed, and returns its output.
func (b *bench) ok(args ...string) string {
	b.t.Helper()
	r := b.Run(args...)
	if r.Code != 0 {
		b.t.Fatalf("launchctl %s = %d\n%s", strings.Join(args, " "), r.Code, r.Stderr)
	}
	return r.Stdout
}

func (b *bench) code(want int, args ...string) launchdtest.Result {
	b.t.Helper()
	r := b.Run(args...)
	if r.Code != want {
		b.t.Fatalf("launchctl %s = %d, want %d\n%s%s", strings.Join(args, " "), r.Code, want, r.Stdout, r.Stderr)
	}
	return r
}

// next is the next line that the job writes to descriptor 3.
func (b *bench) next() string {
	b.t.Helper()
	if err := b.fifo.SetReadDeadline(time.Now().Add(patience)); err != nil {
		b.t.Fatal(err)
	}
	line, err := b.out.ReadString('\n')
	if err != nil {
		b.t.Fatalf("wait for the job: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (b *bench) print() *launchd.Service {
	b.t.Helper()
	s, err := launchd.ParseService([]byte(b.ok("print", b.target())))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// until polls print until is holds. The emulator reports no events, just as
// launchctl does not.
func (b *bench) until(what string, is func(*launchd.Service) bool) *launchd.Service {
	b.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if s := b.print(); is(s) {
			return s
		}
	}
	b.t.Fatalf("never: %s", what)
	return nil
}

func (b *bench) awaitGone() {
	b.t.Helper()
	for end := time.Now().Add(patience); b.Run("print", b.target()).Code != 113; {
		if time.Now().After(end) {
			b.t.Fatalf("%s stays", b.target())
		}
	}
}

// supervisor is the process number in the log of the one that runs now.
func (b *bench) supervisor() int {
	b.t.Helper()
	log, err := os.ReadFile(filepath.Join(b.Dir, "launchd.log"))
	if err != nil {
		b.t.Fatal(err)
	}
	lines := strings.Split(string(log), "\n")
	slices.Reverse(lines)
	for _, line := range lines {
		var pid int
		if _, rest, ok := strings.Cut(line, "msg=launchd.started "); ok {
			if _, err := fmt.Sscanf(rest, "pid=%d", &pid); err == nil {
				return pid
			}
		}
	}
	b.t.Fatal("no supervisor in the log")
	return 0
}

// noneLeft fails the test if a process of the job lives.
func noneLeft(t *testing.T, label string) {
	if left := processesOf(label); len(left) > 0 {
		t.Errorf("processes %v of %s are left", left, label)
	}
}
