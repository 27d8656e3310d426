// Package peer finds the program at the other end of a loopback connection:
// what it is, where it works, and what its environment says of the project.
//
//	p, err := peer.Find(conn.RemoteAddr().(*net.TCPAddr).AddrPort())
//	if err == nil {
//		fmt.Println(p.PID, p.Dir)
//	}
//
// The operating system is asked by the address of the client's own end. It
// answers for processes of this user only, which is also all that a look
// wants: another user's directories are not ours to know. A look costs up to
// milliseconds, so it belongs in a goroutine of its own, started as soon as
// the connection is there: a short-lived client is gone soon after its answer.
// Whoever has many connections to look for asks a [Finder] for all at once.
//
// What a process is and says is read anew each time, since a program may
// change its directory, or become another one. A Finder remembers only which
// processes it found, to ask them first.
package peer

import (
	"errors"
	"fmt"
	"net/netip"
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
	// of scripts the script behind it, but never code that stands in the
	// arguments. "" if it cannot be told.
	Program string
	// Workspace is the folder that the editor which the process belongs to
	// was told to open, "" if that cannot be told.
	Workspace string
	// Label is the name that the editor gives its workspace in the process's
	// environment, "" if it gives none.
	Label string
}

// A Finder finds the programs behind connections to one server. Its zero value
// is ready to use; it is not safe for concurrent use.
type Finder struct {
	// Server is the address to which the clients connected. Linux tells of a
	// connection whose both ends are known in microseconds; else all the
	// connections of the machine have to be read. The zero value is unknown.
	Server netip.AddrPort

	finder
}

// Find finds the processes whose TCP connections have the given addresses as
// their own ends, in one look for all. Clients that are not found are not in
// the map; the error says why the look as a whole failed.
//
// With several processes on one connection, as after a fork, it is the one
// with the highest number, which is the one at work where a shell started it,
// unless the finder knows another of them.
func (f *Finder) Find(clients ...netip.AddrPort) (map[netip.AddrPort]Process, error) {
	asked := make(map[netip.AddrPort]netip.AddrPort, len(clients))
	for _, c := range clients {
		plain := unmap(c)
		if plain.IsValid() && plain.Addr().IsLoopback() {
			asked[plain] = c
		}
	}
	if len(asked) == 0 {
		return nil, nil
	}
	look := make([]netip.AddrPort, 0, len(asked))
	for plain := range asked {
		look = append(look, plain)
	}
	found, err := f.find(unmap(f.Server), look)
	answer := make(map[netip.AddrPort]Process, len(found))
	for plain, p := range found {
		answer[asked[plain]] = p
	}
	return answer, err
}

// Find finds one connection's process.
func Find(client netip.AddrPort) (Process, error) {
	found, err := new(Finder).Find(client)
	if p, ok := found[client]; ok {
		return p, nil
	}
	if err == nil {
		err = ErrUnknown
	}
	return Process{}, fmt.Errorf("find the program at %s: %w", client, err)
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
