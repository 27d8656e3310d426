package launchdtest_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
	"github.com/haltonlabs/halton-meter/launchd/launchdtest"
)

// TestCleanupEndsWhatIgnoresIt has a job that SIGTERM does not end and that
// launchd would never kill; a bootout that waits for it makes no difference.
func TestCleanupEndsWhatIgnoresIt(t *testing.T) {
	for name, verb := range map[string]string{"running": "print", "booted out": "bootout"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var pid int
			var held *os.File
			t.Cleanup(func() {
				if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
					t.Errorf("the process: %v", err)
				}
				// The job and its child hold the other end: it ends with the last.
				if _, err := io.ReadAll(held); err != nil {
					t.Errorf("its child: %v", err)
				}
				held.Close()
			})
			e := launchdtest.Start(t, emulator.Knobs{})
			dir := t.TempDir()
			ready := filepath.Join(dir, "job.ready")
			if err := syscall.Mkfifo(ready, 0o600); err != nil {
				t.Fatal(err)
			}
			job := launchd.Job{
				Label:            "com.example.deaf",
				ProgramArguments: []string{"/bin/sh", "-c", "trap '' TERM; exec 3>" + ready + "; sleep 333; exit"},
				ExitTimeOut:      new(0),
			}
			data, err := job.Encode()
			if err != nil {
				t.Fatal(err)
			}
			plist := filepath.Join(dir, job.Label+".plist")
			if err := os.WriteFile(plist, data, 0o600); err != nil {
				t.Fatal(err)
			}
			domain := "gui/" + strconv.Itoa(os.Getuid())
			target := domain + "/" + job.Label
			e.Run("bootstrap", domain, plist)
			if a := e.Run("kickstart", "-p", target); a.Code != 0 {
				t.Fatalf("kickstart: %+v", a)
			} else if s, err := e.Client().Print(t.Context(), mustService(t, job.Label)); err != nil || s.PID == 0 {
				t.Fatalf("print: %+v, %v", s, err)
			} else {
				pid = s.PID
			}
			if held, err = os.Open(ready); err != nil {
				t.Fatal(err)
			}
			if a := e.Run(verb, target); a.Code != 0 {
				t.Fatalf("%s: %+v", verb, a)
			}
		})
	}
}

func mustService(t *testing.T, label string) launchd.ServiceTarget {
	t.Helper()
	s, err := launchd.GUI(os.Getuid()).Service(label)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
