package ledger

import (
	"os"

	"golang.org/x/sys/unix"
)

// preallocate has the file system keep room for size bytes: after fallocate,
// "subsequent writes into the range are guaranteed not to fail because of lack
// of disk space" (fallocate(2)).
func preallocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		if err != unix.EINTR {
			return err
		}
	}
}
