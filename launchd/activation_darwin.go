package launchd

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"
)

// activateNatively is launch_activate_socket(3):
//
//	int launch_activate_socket(const char *name, int **fds, size_t *cnt)
//
// It returns an errno, and the caller frees fds. Every Go program for macOS is
// linked with libSystem, so the symbols are looked up in what is loaded.
func activateNatively(name string) ([]*os.File, error) {
	if strings.ContainsRune(name, 0) {
		return nil, ErrNoSuchSocket
	}
	var launchActivateSocket func(name string, fds **int32, count *uintptr) int32
	var free func(*int32)
	for symbol, f := range map[string]any{"launch_activate_socket": &launchActivateSocket, "free": &free} {
		address, err := purego.Dlsym(purego.RTLD_DEFAULT, symbol)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", symbol, err)
		}
		purego.RegisterFunc(f, address)
	}
	// Nothing is forked until the descriptors are close-on-exec, see
	// syscall.ForkLock.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	var fds *int32
	var count uintptr
	if code := launchActivateSocket(name, &fds, &count); code != 0 {
		return nil, activationError(int(code))
	}
	if fds == nil {
		return nil, errors.New("launchd gave no descriptors")
	}
	defer free(fds)
	var files []*os.File
	for _, fd := range unsafe.Slice(fds, count) {
		unix.CloseOnExec(int(fd))
		files = append(files, os.NewFile(uintptr(fd), name))
	}
	return files, nil
}
