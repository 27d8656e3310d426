package launchd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/haltonlabs/halton-meter/internal/activation"
)

// What can keep [Listeners] from a socket.
var (
	// ErrNotActivated means that no launchd holds sockets for this process:
	// it was not started by one, or is not a job's main process. A program
	// that also runs by itself then listens on its own.
	ErrNotActivated = errors.New("launchd holds no sockets for this process")
	// ErrNoSuchSocket means that the job's plist has no such key in Sockets,
	// or that launchd could not open the socket.
	ErrNoSuchSocket = errors.New("launchd has no such socket for this job")
	// ErrAlreadyActivated means that this process has had the sockets before.
	ErrAlreadyActivated = errors.New("launchd has already handed over the socket")
)

// activationTimeout is how long the emulator may take to answer. It hangs only
// if somebody has stopped it.
const activationTimeout = 10 * time.Second

// Listeners takes the listening sockets that launchd holds for this job: those
// of the key name in its [Job].Sockets, of which there are several for a host
// name with several addresses. From then on the job accepts connections, while
// launchd keeps the sockets open: connections that come while the job is down
// or restarts wait in the queue, and start it.
//
//	listeners, err := launchd.Listeners("Listeners")
//	if errors.Is(err, launchd.ErrNotActivated) {
//		listeners, err = … // not under launchd: net.Listen
//	}
//
// It can be called once per name. Closing a listener does not close launchd's
// own, and never removes a Unix socket's path. A process that the job starts
// inherits none of them. On macOS this is launch_activate_socket(3); a job of
// package launchd/emulator gets its sockets from there, on any system.
func Listeners(name string) ([]net.Listener, error) {
	files, err := activate(name)
	if err != nil {
		return nil, fmt.Errorf("activate socket %q: %w", name, err)
	}
	listeners, err := listenersOf(files)
	if err != nil {
		return nil, fmt.Errorf("activate socket %q: %w", name, err)
	}
	return listeners, nil
}

func activate(name string) ([]*os.File, error) {
	supervisor := os.Getenv(activation.Env)
	if supervisor == "" {
		return activateNatively(name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), activationTimeout)
	defer cancel()
	files, code, err := activation.Ask(ctx, supervisor, name)
	switch {
	case errors.Is(err, activation.ErrNoSupervisor):
		// Its sockets went with it.
		return nil, fmt.Errorf("%w: %w", ErrNotActivated, err)
	case err != nil:
		return nil, err
	}
	return files, activationError(code)
}

// activationError turns Darwin's errno into an error.
func activationError(code int) error {
	switch code {
	case activation.OK:
		return nil
	case activation.NotManaged:
		return ErrNotActivated
	case activation.NoSuchSocket:
		return ErrNoSuchSocket
	case activation.AlreadyActive:
		return ErrAlreadyActivated
	}
	return errors.New(CodeText(code))
}

// listenersOf consumes the files.
func listenersOf(files []*os.File) ([]net.Listener, error) {
	var listeners []net.Listener
	var failed error
	for _, f := range files {
		ln, err := net.FileListener(f)
		f.Close()
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		listeners = append(listeners, ln)
	}
	if failed != nil {
		for _, ln := range listeners {
			ln.Close()
		}
		return nil, fmt.Errorf("not a listening stream socket: %w", failed)
	}
	return listeners, nil
}
