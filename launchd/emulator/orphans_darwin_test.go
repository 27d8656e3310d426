package emulator_test

import (
	"os/exec"
	"strconv"
	"strings"
)

// processesOf finds the living processes of a job, descendants included, by
// the variable that launchd gives to each job.
func processesOf(label string) []int {
	out, _ := exec.Command("/bin/ps", "-axwwE", "-o", "pid=,command=").Output()
	var pids []int
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); strings.Contains(line, " XPC_SERVICE_NAME="+label) && len(f) > 0 {
			if pid, err := strconv.Atoi(f[0]); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
