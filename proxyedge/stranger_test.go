package proxyedge

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// strange is a program that holds both ports of the daemon: it says that it is
// well, and answers each CONNECT in a way of its own.
type strange struct {
	addr string
	mu   sync.Mutex
	got  []string // all bytes of each connection that was no health check
}

func newStrange(t *testing.T, answer func(conn net.Conn, raw []byte, h *head)) *strange {
	s := &strange{}
	s.addr = stranger(t, func(conn net.Conn) {
		raw, rest, err := readHead(conn, 1<<16)
		if err != nil {
			return
		}
		if bytes.HasPrefix(raw, []byte("GET /health ")) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{\"status\":\"ok\"}")
			return
		}
		h, err := parseRequest(raw)
		if err != nil {
			t.Errorf("the edge sent %q", raw)
			return
		}
		answer(conn, raw, h)
		more, _ := io.ReadAll(conn)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.got = append(s.got, string(raw)+string(rest)+string(more))
	})
	return s
}

func (s *strange) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got...)
}

// A stranger on both ports of the daemon gets no byte of a client's, whether
// it is a tunnel's or a request's, and what the client wanted happens.
func TestStrangers(t *testing.T) {
	real, _ := receive(t, nil, shout)
	prove := func(conn net.Conn, s statement, status, more string) {
		io.WriteString(conn, "HTTP/1.1 "+status+"\r\n"+more+headerProof+": "+s.prove(testKey)+"\r\n\r\n")
	}
	// of is the statement that our daemon would make here.
	of := func(conn net.Conn, h *head, purpose string) statement {
		nonce, _ := h.one(headerNonce)
		return statement{purpose: purpose, nonce: nonce, authority: h.target, server: endpoint(conn.LocalAddr())}
	}
	strangers := map[string]func(net.Conn, []byte, *head){
		"200 to everything": func(conn net.Conn, _ []byte, _ *head) { io.WriteString(conn, established) },
		"200 with the nonce for a proof": func(conn net.Conn, _ []byte, h *head) {
			nonce, _ := h.one(headerNonce)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+headerProof+": "+nonce+"\r\n\r\n")
		},
		"a genuine proof of another nonce": func(conn net.Conn, _ []byte, h *head) {
			s := of(conn, h, proofAdmit)
			s.nonce = newNonce()
			prove(conn, s, "200 OK", "")
		},
		"a genuine proof for another authority": func(conn net.Conn, _ []byte, h *head) {
			s := of(conn, h, proofAdmit)
			s.authority = "other.example:443"
			prove(conn, s, "200 OK", "")
		},
		"a genuine refusal as an admission": func(conn net.Conn, _ []byte, h *head) {
			prove(conn, of(conn, h, proofRefuse), "200 OK", "")
		},
		"an edge's proof as an admission": func(conn net.Conn, _ []byte, h *head) {
			s := of(conn, h, proofIdentify)
			s.authority = ""
			prove(conn, s, "200 OK", "")
		},
		"a proof of another key": func(conn net.Conn, _ []byte, h *head) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+headerProof+": "+of(conn, h, proofAdmit).prove([]byte("another"))+"\r\n\r\n")
		},
		"two proofs": func(conn net.Conn, _ []byte, h *head) {
			s := of(conn, h, proofAdmit)
			s.nonce = newNonce()
			prove(conn, s, "200 OK", headerProof+": x\r\n")
		},
		"the challenge passed on to our daemon": func(conn net.Conn, raw []byte, _ *head) {
			up, err := net.Dial("tcp", real)
			if err != nil {
				return
			}
			defer up.Close()
			up.Write(raw)
			answer, _, _ := readHead(up, 1<<16)
			conn.Write(answer)
		},
		"the challenge passed on, and the answer mended": func(conn net.Conn, raw []byte, _ *head) {
			up, err := net.Dial("tcp", real)
			if err != nil {
				return
			}
			defer up.Close()
			up.Write(raw)
			answer, _, _ := readHead(up, 1<<16)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			if _, fields, ok := bytes.Cut(answer, []byte("\r\n")); ok {
				conn.Write(fields)
			}
		},
	}
	for name, answer := range strangers {
		t.Run(name, func(t *testing.T) {
			s := newStrange(t, answer)
			target := newRecorder(t)
			toTarget := target.addr
			w := newWorld(t, "", func(e *Edge) {
				e.Probe = nil // as it is by default: GET HealthURL
				e.Daemon = func() (Daemon, error) {
					return Daemon{Proxy: s.addr, HealthURL: "http://" + s.addr + "/health"}, nil
				}
				e.Metered = func(host string, _ int) bool { return host == metered }
				e.Dial = leadsTo(&toTarget, target.addr)
				e.UnhealthyTTL = 1 // each client meets the stranger anew
			})
			const secret = "my-project my-key my-prompt"
			asks := []func(c *client){
				func(c *client) {
					c.send("CONNECT " + metered + ":443 HTTP/1.1\r\nProxy-Authorization: Basic bXktcHJvamVjdDo=\r\n\r\n\x16 " + secret + "\r\n\r\n")
					c.expect(established + "HTTP/1.1 200 OK\r\n")
				},
				func(c *client) {
					c.send("POST http://" + metered + ":8000/my-path HTTP/1.1\r\nHost: a\r\nX-Api-Key: " + secret + "\r\nContent-Length: 0\r\n\r\n")
					if res, _ := c.answer("POST"); res.StatusCode != 200 {
						t.Errorf("%s", res.Status)
					}
				},
			}
			for _, ask := range asks {
				c := w.dial()
				ask(c)
				c.Close()
			}
			status := w.wait("the end", func(s Status) bool { return s.Open == 0 && s.Passthrough == 2 })
			if status.Reasons[ReasonUnproven] != 2 || status.Lost != 2 || status.Metered != 0 || status.Failed != 0 || status.Metering {
				t.Errorf("counted %+v", status)
			}
			if got := target.requests(); len(got) != 2 || !strings.Contains(got[0]+got[1], secret) {
				t.Errorf("the target got %q", got)
			}
			seen := s.seen()
			if len(seen) != 2 {
				t.Errorf("the stranger was asked %d times, want 2", len(seen))
			}
			for _, got := range seen {
				h, err := parseRequest([]byte(got))
				if err != nil || h.method != "CONNECT" || len(h.fields) != 3 || len(h.get(headerClient)) != 1 {
					t.Errorf("the stranger got more than the challenge: %q", got)
				}
				for _, part := range append(strings.Fields(secret), "my-path", "bXktcHJvamVjdDo", "\x16") {
					if strings.Contains(got, part) {
						t.Errorf("the stranger got %q in %q", part, got)
					}
				}
			}
		})
	}
}

// What a stranger has kept of an edge's challenge does not let it in at our
// daemon: the seal is for the address that the edge had connected to.
func TestChallengeIsWorthlessElsewhere(t *testing.T) {
	heads := make(chan []byte, 1)
	kept := newStrange(t, func(conn net.Conn, raw []byte, _ *head) {
		heads <- raw
		io.WriteString(conn, established)
	})
	w := newWorld(t, kept.addr, nil)
	c := w.connect("\x16hello")
	c.expect("\x16hello")
	real, _ := receive(t, nil, func(net.Conn, Chain) { t.Error("a stranger was let in") })
	thief := dialClient(t, real)
	thief.send(string(<-heads))
	if answer := thief.status(); !strings.HasPrefix(answer, "HTTP/1.1 403 ") || strings.Contains(answer, headerProof) {
		t.Errorf("our daemon answered %q", answer)
	}
}
