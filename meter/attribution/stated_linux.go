package attribution

import (
	"slices"

	"golang.org/x/sys/unix"
)

// notForFiles are the file systems in which nobody works: automounters, and
// those whose files are the kernel's (the magic numbers of statfs(2)).
var notForFiles = []int64{
	unix.AUTOFS_SUPER_MAGIC, unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEVPTS_SUPER_MAGIC,
	unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
}

// ordinary reports whether the directory's file system is one to look up
// names in.
func ordinary(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && !slices.Contains(notForFiles, int64(fs.Type)) //nolint:unconvert // the types differ between machines
}
