package main

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// ownSpace names, in a test that runs itself again, the directory that is for
// it alone.
const ownSpace = "HALTON_METER_TEST_SPACE"

// onSmallDisk runs the test with all of its temporary directories on a file
// system of its own, of the given size.
func onSmallDisk(t *testing.T, size string, test func(disk string)) {
	t.Helper()
	inNamespace(t, 0, func(dir string) {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
			t.Fatal(err)
		}
		os.Setenv("TMPDIR", dir) //nolint:usetesting // this process is for this test only
		test(dir)
	})
}

// asNobodySpecial runs the test as a user whom permissions bind, which they do
// not root.
func asNobodySpecial(t *testing.T, test func()) {
	t.Helper()
	const user = 1000
	inNamespace(t, user, func(string) { test() })
}

// inNamespace runs the test again, in a process with its own mounts and with
// the given user id in a user namespace of its own. Where the kernel allows
// that to nobody, the test is not run: the rooms' own tests inject the errors.
func inNamespace(t *testing.T, uid int, test func(dir string)) {
	t.Helper()
	if dir := os.Getenv(ownSpace); dir != "" {
		test(dir)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), ownSpace+"="+t.TempDir(), builtProgram+"="+program)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		t.Errorf("in its own process: %v\n%s", err, out)
	case err != nil:
		t.Logf("no namespace of its own here: %v", err)
	default:
		t.Logf("%s", out)
	}
}
