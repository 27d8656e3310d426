package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/replay"
)

// inside marks the test process that runs in namespaces of its own.
const inside = "HALTON_METER_E2E_NAMESPACE"

// TestMain runs the tests in a network namespace of their own, in which the
// providers' names lead to 127.0.0.1 and nothing can leave the machine, and
// where every port is free.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "prepare namespace:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	args := []string{"--net", "--mount"}
	if os.Geteuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	cmd := exec.Command("unshare", append(append(args, os.Args[0]), os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "run in a namespace:", err)
		os.Exit(1)
	}
}

// prepare brings loopback up and gives the providers' names to it.
func prepare() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	dir, err := os.MkdirTemp("", "hosts")
	if err != nil {
		return err
	}
	hosts := filepath.Join(dir, "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost "+strings.Join(providers, " ")+"\n"), 0o644); err != nil {
		return err
	}
	// A mount of this namespace only: the machine's own file stays.
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount /etc/hosts: %w", err)
	}
	return os.RemoveAll(dir)
}

// startUpstream listens where the providers' names lead.
func startUpstream(t *testing.T, recs []replay.Recording, hosts ...string) (*replay.Server, string) {
	t.Helper()
	return replay.Start(t, "127.0.0.1:443", recs, hosts...), ""
}
