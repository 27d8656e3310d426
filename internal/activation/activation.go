// Package activation carries listening sockets from the launchd emulator to a
// job: package launchd asks, package launchd/emulator answers.
//
// As on macOS, a job asks launchd for its sockets when it wants them, and they
// arrive as messages, not by inheritance. So nothing that a job starts can get
// hold of them by accident. Who asks is told by the kernel.
package activation

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/unixsock"
)

// Env names the variable that tells a job where its supervisor's socket is.
const Env = "LAUNCHD_EMULATOR_SOCKET"

// Verb is what a job asks for, in the protocol of the supervisor's socket.
const Verb = "activate-socket"

// The answers, which are those of launch_activate_socket(3), in Darwin's
// numbers.
const (
	OK            = 0
	NoSuchSocket  = 2  // ENOENT
	NotManaged    = 3  // ESRCH
	AlreadyActive = 37 // EALREADY
)

// ErrNoSupervisor means that nobody is there to ask.
var ErrNoSupervisor = errors.New("the job's supervisor is gone")

const (
	// maxFiles is SCM_MAX_FD, the most that Linux takes in a message.
	maxFiles  = 253
	maxAnswer = 4096
)

// Ask gets the sockets of this name from the supervisor whose socket is at
// path. The caller closes the files, which are close-on-exec.
func Ask(ctx context.Context, path, name string) (files []*os.File, code int, err error) {
	conn, err := unixsock.Dial(ctx, path)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrNoSupervisor, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// The supervisor speaks first, and then not before it was asked: what the
	// reader takes in holds no descriptors yet.
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrNoSupervisor, err)
	}
	question, err := json.Marshal(struct{ Verb, Key string }{Verb, name})
	if err != nil {
		return nil, 0, err
	}
	if _, err := conn.Write(append(question, '\n')); err != nil {
		return nil, 0, fmt.Errorf("ask supervisor: %w", err)
	}
	files, code, err = receive(conn.(*net.UnixConn))
	if err != nil {
		closeAll(files)
		return nil, 0, fmt.Errorf("hear supervisor: %w", err)
	}
	return files, code, nil
}

// receive reads one line and all descriptors that come with it. Package net
// makes them close-on-exec.
func receive(conn *net.UnixConn) (files []*os.File, code int, err error) {
	var line []byte
	buf, oob := make([]byte, maxAnswer), make([]byte, unix.CmsgSpace(4*maxFiles))
	for len(line) < maxAnswer {
		n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
		n, oobn = max(n, 0), max(oobn, 0) // both are -1 with some errors
		came, parseErr := filesIn(oob[:oobn])
		files = append(files, came...)
		line = append(line, buf[:n]...)
		switch {
		case parseErr != nil:
			return files, 0, parseErr
		case n > 0 && line[len(line)-1] == '\n':
			var answer struct{ Code int }
			err := json.Unmarshal(line, &answer)
			return files, answer.Code, err
		case err != nil:
			return files, 0, err
		case n == 0:
			return files, 0, io.ErrUnexpectedEOF
		}
	}
	return files, 0, errors.New("the answer is too long")
}

func filesIn(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "socket"))
		}
	}
	return files, nil
}

// Answer is the supervisor's side of Ask. It leaves the files open.
func Answer(conn *net.UnixConn, code int, files []*os.File) error {
	answer, err := json.Marshal(struct{ Code int }{code})
	if err != nil {
		return err
	}
	if len(files) > maxFiles {
		return fmt.Errorf("answer with %d sockets: too many", len(files))
	}
	fds := make([]int, 0, len(files))
	for _, f := range files {
		// Not Fd, which may make the socket blocking, for the job too.
		raw, err := f.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) })
		}
		if err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if _, _, err := conn.WriteMsgUnix(append(answer, '\n'), oob, nil); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
