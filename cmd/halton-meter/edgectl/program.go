package edgectl

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// ProgramID tells the program file at path from every other that was or will
// be there, also from another build of the same version: a file that replaces
// it by rename is another inode, and one that gets the same inode later is
// younger.
func ProgramID(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("identify program: %w", err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("identify program: %s has no inode", path)
	}
	return fmt.Sprintf("%d:%d:%d:%d", sys.Dev, sys.Ino, st.Size(), st.ModTime().UnixNano()), nil
}

// OwnProgramID is that of the program that runs here. Call it first of all: on
// macOS it looks at the path, where another file may be a moment later; Linux
// knows the file itself (proc_pid_exe(5)).
func OwnProgramID() (string, error) {
	if runtime.GOOS == "linux" {
		return ProgramID("/proc/self/exe")
	}
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("identify program: %w", err)
	}
	return ProgramID(path)
}
