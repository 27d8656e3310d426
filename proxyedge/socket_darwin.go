package proxyedge

import "syscall"

// readSocket is read(2). System calls go through libSystem here, which has no
// other way for those that do not block.
func readSocket(fd uintptr, b []byte) (int, error) { return syscall.Read(int(fd), b) }

func writeSocket(fd uintptr, b []byte) (int, error) { return syscall.Write(int(fd), b) }
