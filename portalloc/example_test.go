package portalloc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/haltonlabs/halton-meter/portalloc"
)

// A service that prefers a port gets the next one when that is taken, and
// says so in its state file.
func ExampleNegotiation() {
	dir, err := os.MkdirTemp("", "portalloc")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	stranger, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer stranger.Close()
	preferred := stranger.Addr().(*net.TCPAddr).Port

	n := portalloc.Negotiation{
		StateFile: filepath.Join(dir, "ports.json"),
		LockFile:  filepath.Join(dir, "ports.lock"),
		Ports: []portalloc.Port{{
			Name:      "api",
			Preferred: preferred,
			Fallbacks: []int{preferred%60000 + 1, preferred%60000 + 2, preferred%60000 + 3},
		}},
	}
	var alloc *portalloc.Allocation
	alloc, err = n.Negotiate(context.Background())
	if err != nil {
		panic(err)
	}
	defer alloc.Close()

	record, err := portalloc.ReadRecord(n.StateFile)
	if err != nil {
		panic(err)
	}
	fmt.Println("preferred:", alloc.Port("api") == preferred)
	fmt.Println("recorded:", record.Ports["api"] == alloc.Port("api"), "live:", record.Live())
	// Output:
	// preferred: false
	// recorded: true live: true
}

// An installer chooses the port on which launchd is to listen for a job. It runs
// again at every update: then the job holds its port, and keeps it.
func ExampleNegotiation_forAnother() {
	dir, err := os.MkdirTemp("", "portalloc")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	n := portalloc.Negotiation{
		StateFile:  filepath.Join(dir, "ports.json"),
		Ports:      []portalloc.Port{{Name: "web"}}, // and a preferred port and fallbacks
		ForAnother: true,
	}
	choose := func(loaded bool) (int, error) {
		if record, err := portalloc.ReadRecord(n.StateFile); err == nil && loaded {
			return record.Ports["web"], nil
		}
		alloc, err := n.Negotiate(context.Background())
		if err != nil {
			return 0, err
		}
		return alloc.Port("web"), alloc.Close() // and then have the job loaded
	}
	first, err1 := choose(false)
	second, err2 := choose(true)
	fmt.Println(first != 0, second == first, err1, err2)
	// Output: true true <nil> <nil>
}

// The error of an exhausted list is meant to be shown to the user.
func ExampleExhaustedError() {
	var err error = &portalloc.ExhaustedError{
		Name: "api",
		Attempts: []portalloc.Attempt{
			{Port: 8765, Err: os.ErrPermission, Holder: portalloc.Holder{PID: 812, Command: "node"}},
			{Port: 8865, Err: os.ErrPermission, Holder: portalloc.Holder{User: "0"}},
		},
	}
	if exhausted, ok := errors.AsType[*portalloc.ExhaustedError](err); ok {
		fmt.Println(len(exhausted.Attempts), "tried")
	}
	fmt.Println(err)
	// Output:
	// 2 tried
	// allocate port "api": every candidate is taken: 8765 (node, pid 812), 8865 (a process of user id 0); free one of them, or pin another port in the configuration
}

// A record whose process is gone is a memory of the last choice.
func ExampleRecord() {
	r := portalloc.Record{
		Ports:     map[string]int{"edge": 8081},
		PID:       1,
		StartedAt: time.Date(2001, 1, 1, 0, 0, 0, 500_000_000, time.UTC),
	}
	data, err := r.MarshalJSON()
	fmt.Println(string(data), err)
	fmt.Println("live:", r.Live())
	// Output:
	// {
	//   "edge_port": 8081,
	//   "pid": 1,
	//   "started_at": "2001-01-01T00:00:00.5Z"
	// } <nil>
	// live: false
}
