package emulator_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// processesOf finds the living processes of a job, descendants included, by
// the variable that launchd gives to each job.
func processesOf(label string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		env, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			if string(v) == "XPC_SERVICE_NAME="+label {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
