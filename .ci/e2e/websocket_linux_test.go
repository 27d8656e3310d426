package e2e

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/haltonlabs/halton-meter/internal/replay"
)

// socketServer is the provider's end of a WebSocket: it answers each
// response.create with the events of a recorded stream, and otherwise does
// what it is told.
type socketServer struct {
	*testing.T
	events []string
	closed chan string // by a client: code and reason, or what went wrong
}

func newSocketServer(t *testing.T, rec replay.Recording) *socketServer {
	t.Helper()
	s := &socketServer{T: t, closed: make(chan string, 64)}
	for line := range strings.Lines(rec.ResponseBody) {
		if data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: "); ok {
			s.events = append(s.events, data)
		}
	}
	return s
}

func (s *socketServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		CompressionMode: websocket.CompressionContextTakeover, CompressionThreshold: 1,
	})
	if err != nil {
		s.Error(err)
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(16 << 20)
	err = s.serve(r.Context(), conn)
	var closed websocket.CloseError
	switch {
	case errors.As(err, &closed):
		s.closed <- fmt.Sprintf("%d %s", closed.Code, closed.Reason)
	case err != nil:
		s.Error(err)
		s.closed <- err.Error()
	}
}

// serve returns nil once it was told to close the connection.
func (s *socketServer) serve(ctx context.Context, conn *websocket.Conn) error {
	for {
		kind, message, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		command, rest, _ := strings.Cut(string(message), " ")
		switch {
		case kind == websocket.MessageBinary:
			err = inFragments(ctx, conn, kind, message)
		case command == "ping":
			// The pong arrives while this loop reads on.
			go func() {
				if err := conn.Ping(ctx); err != nil {
					s.Error(err)
				}
				if err := conn.Write(ctx, websocket.MessageText, []byte("pinged")); err != nil {
					s.Error(err)
				}
			}()
		case command == "close":
			code, reason, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(code)
			return errors.Join(err, conn.Close(websocket.StatusCode(n), reason))
		default:
			for _, event := range s.events {
				if err := inFragments(ctx, conn, kind, []byte(event)); err != nil {
					return err
				}
			}
		}
		if err != nil {
			return err
		}
	}
}

func inFragments(ctx context.Context, conn *websocket.Conn, kind websocket.MessageType, message []byte) error {
	w, err := conn.Writer(ctx, kind)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(message, 50_000) {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return w.Close()
}

// conversation is what a client prints after the extensions that it agreed on
// with the server.
func (s *socketServer) conversation(end string) string {
	var b strings.Builder
	for range 2 {
		fmt.Fprintln(&b, strings.Join(s.events, "\n"))
	}
	var blob []byte
	for i := range 6400 {
		sum := sha256.Sum256([]byte(strconv.Itoa(i)))
		blob = append(blob, sum[:]...)
	}
	for _, answer := range [][]byte{[]byte("pinged"), blob} {
		fmt.Fprintf(&b, "%d %x\n", len(answer), sha256.Sum256(answer))
	}
	fmt.Fprintf(&b, "pong\nclosed %s\n", end)
	return b.String()
}

// Three WebSocket stacks with compression, fragments, pings and close codes:
// with the daemon up and down each reads, and closes, as it does without us,
// and each response has a row while it is up.
func TestWebSockets(t *testing.T) {
	calls, recs := loadCalls(t)
	i := slices.IndexFunc(calls, func(c call) bool { return c.Path == "/v1/responses" && c.Stream })
	m, upstream := newMachine(t, recs)
	server := newSocketServer(t, recs[i])
	upstream.Handle("GET /v1/responses", server)

	clients := []struct {
		name string
		argv []string
	}{
		{"coder/websocket", []string{build(t, ".", "./wsclient")}},
		{"npm's ws", []string{node(t), script(t, "node/ws.mjs")}},
		{"python3-websockets", []string{"/usr/bin/python3", script(t, "ws.py")}},
	}
	ends := [][]string{
		{"client", "1000", "done"}, {"client", "4000", "of the client's own"},
		{"server", "1001", "going away"}, {"server", "4001", "of the server's own"},
	}
	direct := []string{"SSL_CERT_FILE=" + upstream.CAFile, "NODE_EXTRA_CA_CERTS=" + upstream.CAFile}
	run := []string{m.program, "run", "--project", "acme", "--"}

	var alone []string // what each client prints without us
	play := func(state string, env, prefix []string) {
		n := 0
		for _, client := range clients {
			for _, end := range ends {
				argv := slices.Concat(prefix, client.argv, []string{"wss://api.openai.com/v1/responses"}, end)
				got := m.command(m.home, env, argv)
				if prefix == nil {
					alone = append(alone, got)
				}
				extensions, text, _ := strings.Cut(got, "\n")
				code := strings.Join(end[1:], " ")
				if !strings.HasPrefix(extensions, "permessage-deflate") || text != server.conversation(code) || got != alone[n] {
					t.Errorf("%s, %s, closed by the %s with %s: read %d bytes, want %d; extensions %q",
						state, client.name, end[0], code, len(text), len(server.conversation(code)), extensions)
				}
				if end[0] == "client" {
					if seen := <-server.closed; seen != code {
						t.Errorf("%s, %s: the server saw the end %q, want %q", state, client.name, seen, code)
					}
				}
				n++
			}
		}
	}
	play("without us", direct, nil)
	play("daemon up", nil, run)
	rows := m.export()
	if want := 2 * len(clients) * len(ends); len(rows) != want {
		t.Errorf("%d rows for %d responses", len(rows), want)
	}
	for _, r := range rows {
		calls[i].check(t, r, "acme")
	}
	m.must("stop")
	play("daemon down", nil, run)
	if again := m.export(); len(again) != len(rows) {
		t.Errorf("%d rows after conversations without a daemon, %d before", len(again), len(rows))
	}
	checkNoSecrets(t, m)
}
