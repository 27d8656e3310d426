// Package replay is a test's stand-in for the providers: a TLS server that
// answers under their host names with recorded exchanges, and a parent proxy
// that leads there.
//
// Start gives a server with a root of its own, on 127.0.0.1. A client names
// the recording that it wants in the header X-Replay; the answer's body is
// the recorded one, byte for byte, a stream in as many writes as it has
// events.
package replay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Header names the recording that a request asks for, by its index.
const Header = "X-Replay"

// Recording is one recorded exchange.
type Recording struct {
	Source       string `json:"source"`
	Method       string `json:"method"`
	URL          string `json:"url"`
	Status       int    `json:"status"`
	ContentType  string `json:"content_type"`
	Stream       bool   `json:"stream"`
	Usage        bool   `json:"usage"`
	RequestBody  string `json:"request_body"`
	ResponseBody string `json:"response_body"`
}

// Load reads recordings, one JSON object a line.
func Load(t testing.TB, path string) []Recording {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var recs []Recording
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r Recording
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("read %s: %v", path, err)
		}
		recs = append(recs, r)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return recs
}

// Seen is a request as it arrived.
type Seen struct {
	Host   string
	Method string
	URI    string
	Header http.Header
	Body   []byte
}

// Server plays recordings.
type Server struct {
	Recordings []Recording
	// CAFile is the path of the root that vouches for the server.
	CAFile string

	mu      sync.Mutex
	seen    []Seen
	special map[string]http.Handler
	tls     net.Listener
}

// Start starts a server for the host names; it is gone at the test's end.
// addr is where it listens, "127.0.0.1:0" if it does not matter.
func Start(t testing.TB, addr string, recs []Recording, hosts ...string) *Server {
	t.Helper()
	s := &Server{Recordings: recs}
	config, pem := certificates(t, hosts)
	s.CAFile = t.TempDir() + "/upstream-ca.pem"
	if err := os.WriteFile(s.CAFile, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.tls = ln
	srv := &http.Server{Handler: s, TLSConfig: config, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.ServeTLS(ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { srv.Close(); <-served })
	return s
}

// Handle gives requests of a method and path ("POST /v1/messages") to h
// instead of a recording; nil takes that back.
func (s *Server) Handle(what string, h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.special == nil {
		s.special = map[string]http.Handler{}
	}
	s.special[what] = h
}

// Addr is where the server listens.
func (s *Server) Addr() string { return s.tls.Addr().String() }

// Seen returns the requests so far.
func (s *Server) Seen() []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Seen(nil), s.seen...)
}

// ServeHTTP answers with the recording that the request asks for.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	s.seen = append(s.seen, Seen{Host: r.Host, Method: r.Method, URI: r.RequestURI, Header: r.Header.Clone(), Body: body})
	special := s.special[r.Method+" "+r.URL.Path]
	s.mu.Unlock()
	if special != nil {
		special.ServeHTTP(w, r)
		return
	}
	i, err := strconv.Atoi(r.Header.Get(Header))
	if err != nil || i < 0 || i >= len(s.Recordings) {
		http.Error(w, `{"error":{"message":"no such recording"}}`, http.StatusNotFound)
		return
	}
	rec := s.Recordings[i]
	w.Header().Set("Content-Type", rec.ContentType)
	if !rec.Stream {
		w.Header().Set("Content-Length", strconv.Itoa(len(rec.ResponseBody)))
		w.WriteHeader(rec.Status)
		_, _ = io.WriteString(w, rec.ResponseBody) // the client may have gone
		return
	}
	w.WriteHeader(rec.Status)
	for event := range strings.SplitAfterSeq(rec.ResponseBody, "\n\n") {
		_, err := io.WriteString(w, event)
		if err := errors.Join(err, http.NewResponseController(w).Flush()); err != nil {
			return // the client has gone
		}
	}
}

// ParentProxy starts a CONNECT proxy that leads every host to the server,
// and returns its URL and a count of the tunnels that went through it.
func (s *Server) ParentProxy(t testing.TB) (url string, tunnels func() int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	var mu sync.Mutex
	count := 0
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			count++
			mu.Unlock()
			go s.lead(c)
		}
	}()
	return "http://" + ln.Addr().String(), func() int { mu.Lock(); defer mu.Unlock(); return count }
}

// lead answers one CONNECT and copies both ways.
func (s *Server) lead(client net.Conn) {
	defer client.Close()
	in := bufio.NewReader(client)
	req, err := http.ReadRequest(in)
	if err != nil || req.Method != http.MethodConnect {
		fmt.Fprint(client, "HTTP/1.1 400 Bad Request\r\n\r\n")
		return
	}
	up, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", s.Addr())
	if err != nil {
		fmt.Fprint(client, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	defer up.Close()
	fmt.Fprint(client, "HTTP/1.1 200 OK\r\n\r\n")
	// However a copy ends, the other side sees it when the connection closes.
	go func() {
		_, _ = io.Copy(up, in)
		_ = up.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, up)
}

// Body is what a client of the recording must read.
func (r Recording) Body() []byte { return bytes.Clone([]byte(r.ResponseBody)) }
