package ledger

import (
	"os"

	"golang.org/x/sys/unix"
)

// preallocate has the file system keep room for size bytes. F_PREALLOCATE
// takes the room behind the end of the file (fcntl(2)), so the end moves after.
func preallocate(f *os.File, size int64) error {
	store := unix.Fstore_t{
		Flags:   unix.F_ALLOCATEALL,
		Posmode: unix.F_PEOFPOSMODE,
		Length:  size,
	}
	if err := unix.FcntlFstore(f.Fd(), unix.F_PREALLOCATE, &store); err != nil {
		return err
	}
	return f.Truncate(size)
}
