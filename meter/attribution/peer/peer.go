// Package peer finds the program at the other end of a loopback connection:
// what it is, where it works, and what its environment says of the project.
//
//	p, err := peer.Find(conn.RemoteAddr().(*net.TCPAddr).AddrPort())
//	if err == nil {
//		fmt.Println(p.PID, p.Dir)
//	}
//
// The operating system is asked by the address of the client's own end. It
// answers for processes of this user only, which is also all that Find wants:
// another user's directories are not ours to know. A look costs milliseconds,
// so it belongs in a goroutine of its own, started as soon as the connection
// is there: a short-lived client is gone soon after its answer.
//
// Nothing is remembered: a program may change its directory, and an address
// is soon another program's.
package peer

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// ErrUnknown means that no process of this user has that end of a connection.
var ErrUnknown = errors.New("no process of this user has this connection")

// projectVariable is what a user sets to name the project of a shell.
const projectVariable = "HALTON_PROJECT"

// Process is a program and what it tells of its project.
type Process struct {
	PID int
	// Dir is its working directory, "" if it cannot be told.
	Dir string
	// Project is HALTON_PROJECT of its environment as it was started with.
	Project string
	// Program says what runs: the executable's path, and for an interpreter
	// of scripts the script behind it. "" if it cannot be told.
	Program string
}

// interpreters run scripts: two of them are as different as their scripts.
var interpreters = []string{"node", "bun", "deno", "python", "ruby", "perl", "php", "java"}

// program names what runs by its executable and its arguments.
func program(executable string, args []string) string {
	base := filepath.Base(executable)
	if !slices.ContainsFunc(interpreters, func(name string) bool { return strings.HasPrefix(base, name) }) {
		return executable
	}
	for _, arg := range args[min(1, len(args)):] {
		if !strings.HasPrefix(arg, "-") {
			return executable + " " + arg
		}
	}
	return executable
}

// Find finds the process whose TCP connection has client as its own end. With
// several, as after a fork, it is the one with the highest number, which is
// the one at work where a shell started it.
func Find(client netip.AddrPort) (Process, error) {
	client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	if !client.IsValid() || !client.Addr().IsLoopback() {
		return Process{}, fmt.Errorf("find the program at %s: %w", client, ErrUnknown)
	}
	p, err := find(client)
	if err != nil {
		return Process{}, fmt.Errorf("find the program at %s: %w", client, err)
	}
	return p, nil
}
