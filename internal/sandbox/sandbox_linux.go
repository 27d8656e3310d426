package sandbox

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside names, in the process that is the sandbox, the directory that is for
// its test alone.
const inside = "HALTON_METER_TEST_SANDBOX"

// OnTmpfs runs the test on a file system of its own, a tmpfs(5) with the given
// options, such as "size=32m". Its temporary directories are there too.
func OnTmpfs(t *testing.T, options string, test func(disk string)) {
	t.Helper()
	run(t, 0, func(dir string) {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
			t.Fatal(err)
		}
		os.Setenv("TMPDIR", dir) //nolint:usetesting // this process is for this test only
		test(dir)
	})
}

// AsUser runs the test as somebody whom permissions bind, which they do not
// root.
func AsUser(t *testing.T, test func()) {
	t.Helper()
	const user = 1000
	run(t, user, func(string) { test() })
}

// Fill takes all that is left of the disk, until it is emptied.
func Fill(t *testing.T, disk string) (empty func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(disk, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(f.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs the test again with the given user id.
func run(t *testing.T, uid int, test func(dir string)) {
	t.Helper()
	if dir := os.Getenv(inside); dir != "" {
		test(dir)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		t.Errorf("in its sandbox: %v\n%s", err, out)
	case err != nil:
		t.Logf("no sandbox here: %v", err)
	default:
		t.Logf("%s", out)
	}
}
