package emulator

import "os"

// bootID differs between two runs of the system; see random(4).
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(id[:len(id)-1])
}
