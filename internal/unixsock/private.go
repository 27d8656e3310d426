package unixsock

import (
	"fmt"
	"os"
	"syscall"
)

// private checks that dir is a real directory that only this user can change.
func private(dir string) error {
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || !st.IsDir() || st.Mode().Perm()&0o077 != 0 || int(sys.Uid) != os.Getuid() {
		return fmt.Errorf("%s is not a private directory of yours: remove it, or set a shorter HALTON_METER_HOME", dir)
	}
	return nil
}
