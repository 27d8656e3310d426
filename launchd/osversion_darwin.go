package launchd

import "golang.org/x/sys/unix"

// osVersion is what sw_vers -productVersion prints, asked of the kernel.
func osVersion() string {
	v, err := unix.Sysctl("kern.osproductversion")
	if err != nil {
		return "macOS"
	}
	return "macOS " + v
}
