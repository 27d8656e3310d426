package emulator

import "golang.org/x/sys/unix"

// bootID differs between two runs of the system.
func bootID() string {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}
