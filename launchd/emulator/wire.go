package emulator

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/haltonlabs/halton-meter/internal/unixsock"
)

// On the socket there is one request per connection: the supervisor greets,
// the client sends a request, the supervisor answers; each is a line of JSON.
// A client that was greeted keeps the supervisor from ending by itself; one
// that was not may start another supervisor and ask again.

// greeting names the protocol; a supervisor of another version is not asked.
type greeting struct {
	Protocol int
	PID      int
}

const protocol = 1

// maxRequest is far above the longest command line that makes sense.
const maxRequest = 1 << 20

// errNotGreeted means that no supervisor has seen the request.
var errNotGreeted = errors.New("no supervisor answers")

// ask sends r to the supervisor in dir.
func ask(ctx context.Context, dir string, r request) (reply, error) {
	conn, err := unixsock.Dial(ctx, filepath.Join(dir, sockFile))
	if err != nil {
		return reply{}, fmt.Errorf("%w: %w", errNotGreeted, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	in := bufio.NewReader(conn)
	var g greeting
	if err := receive(in, &g); err != nil {
		return reply{}, fmt.Errorf("%w: %w", errNotGreeted, err)
	}
	if g.Protocol != protocol {
		return reply{}, fmt.Errorf("supervisor %d speaks version %d of the protocol, not %d: end it with SIGTERM", g.PID, g.Protocol, protocol)
	}
	if err := send(conn, r); err != nil {
		return reply{}, err
	}
	var a reply
	if err := receive(in, &a); err != nil {
		return reply{}, fmt.Errorf("lose supervisor %d: %w", g.PID, err)
	}
	return a, nil
}

func send(conn net.Conn, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if _, err := conn.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

func receive(in *bufio.Reader, v any) error {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	return nil
}
