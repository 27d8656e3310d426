//go:build !darwin

package launchd

import (
	"runtime"

	"golang.org/x/sys/unix"
)

func osVersion() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return runtime.GOOS
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}
