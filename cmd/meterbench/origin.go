package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// originRole in the environment makes this program the origin: a process of
// its own, so that a direct connection costs a change of process as one to a
// real server does.
const originRole = "METERBENCH_ORIGIN"

// The commands of the bare protocol, each one byte. A client may begin with a
// CONNECT, which is answered as a proxy would and then forgotten: so the
// origin is its own parent proxy, and no hop is added for it.
const (
	cmdEcho   = 'E' // n, then rounds of n bytes, each sent back
	cmdSend   = 'D' // n: sends n bytes
	cmdTake   = 'U' // n and n bytes: takes them and answers one
	cmdTLS    = 0x16
	cmdOnHTTP = 'C'
)

// originInfo is what the origin prints when it listens.
type originInfo struct {
	Address string `json:"address"`
	CA      string `json:"ca"`
}

// origin is the process as its starter sees it.
type origin struct {
	originInfo
	caFile string
}

// startOrigin starts the process; it ends with ctx, or with this process.
func startOrigin(ctx context.Context, w *workshop) (*origin, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), originRole+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// Its standard input ends when this process does, however that happens.
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start origin: %w", err)
	}
	w.onClose(func() { in.Close(); _ = cmd.Wait() })
	o := &origin{caFile: filepath.Join(w.dir, "origin-ca.pem")}
	if err := json.NewDecoder(out).Decode(&o.originInfo); err != nil {
		return nil, fmt.Errorf("start origin: %w", err)
	}
	if err := os.WriteFile(o.caFile, []byte(o.CA), 0o600); err != nil {
		return nil, err
	}
	return o, nil
}

// originMain is the process's life.
func originMain() error {
	config, ca, err := certificates(meteredHost)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if err := json.NewEncoder(os.Stdout).Encode(originInfo{ln.Addr().String(), string(ca)}); err != nil {
		return err
	}
	o := &originServer{conns: make(chan net.Conn), addr: ln.Addr()}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/messages", messages)
	srv := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = srv.Serve(o) }()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go o.serve(conn, config)
	}
}

// originServer is a listener of the connections that turned out to be TLS.
type originServer struct {
	conns chan net.Conn
	addr  net.Addr
}

func (o *originServer) Accept() (net.Conn, error) { return <-o.conns, nil }
func (o *originServer) Close() error              { return nil }
func (o *originServer) Addr() net.Addr            { return o.addr }

// peeked is a connection whose first bytes are in a reader.
type peeked struct {
	net.Conn
	in *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) {
	if p.in != nil && p.in.Buffered() > 0 {
		return p.in.Read(b)
	}
	p.in = nil
	return p.Conn.Read(b)
}

func (o *originServer) serve(conn net.Conn, config *tls.Config) {
	in := bufio.NewReaderSize(conn, 512)
	for {
		first, err := in.Peek(1)
		if err != nil {
			conn.Close()
			return
		}
		switch first[0] {
		case cmdTLS:
			o.conns <- tls.Server(&peeked{conn, in}, config)
			return
		case cmdOnHTTP:
			if _, err := http.ReadRequest(in); err != nil {
				conn.Close()
				return
			}
			if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
				conn.Close()
				return
			}
		default:
			defer conn.Close()
			bare(conn, in)
			return
		}
	}
}

// command is a command with its number, in decimal digits.
func command(what byte, n int64) []byte {
	return fmt.Appendf(nil, "%c%*d", what, commandSize-1, n)
}

const commandSize = 1 + 19 // digits enough for every int64

// bulk is what one read or write of a bulk transfer moves at most.
const bulk = 64 << 10

var bulkBuffers = sync.Pool{New: func() any { return new([bulk]byte) }}

// bare serves the commands until the client is gone.
func bare(conn net.Conn, in *bufio.Reader) {
	for {
		var head [commandSize]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		n, err := strconv.ParseInt(strings.TrimLeft(string(head[1:]), " "), 10, 64)
		if err != nil {
			return
		}
		switch head[0] {
		case cmdEcho:
			err = echo(conn, in, int(n))
		case cmdSend:
			err = send(conn, n)
		case cmdTake:
			if _, err = io.CopyN(io.Discard, in, n); err == nil {
				_, err = conn.Write([]byte{1})
			}
		default:
			err = errors.New("unknown command")
		}
		if err != nil {
			return
		}
	}
}

func echo(conn net.Conn, in *bufio.Reader, n int) error {
	if n < 1 || n > bulk {
		return errors.New("echo of an odd size")
	}
	b := make([]byte, n)
	for {
		if _, err := io.ReadFull(in, b); err != nil {
			return err
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
}

func send(w io.Writer, n int64) error {
	b := bulkBuffers.Get().(*[bulk]byte)
	defer bulkBuffers.Put(b)
	for n > 0 {
		m := min(n, bulk)
		if _, err := w.Write(b[:m]); err != nil {
			return err
		}
		n -= m
	}
	return nil
}

// messages answers as api.anthropic.com does, with a body or, if the query
// names a number of events and their pace, with a stream.
func messages(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	events, err := strconv.Atoi(r.URL.Query().Get("events"))
	if err != nil {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answerBody)))
		_, _ = io.WriteString(w, answerBody) // the client may have gone
		return
	}
	pace, err := time.ParseDuration(r.URL.Query().Get("pace"))
	if err != nil {
		http.Error(w, "no pace", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	stream(w, events, pace)
}

// stream sends events at their times and states in each when it was due. One
// that is late because a proxy does not take the one before counts as late.
func stream(w http.ResponseWriter, events int, pace time.Duration) {
	flush := http.NewResponseController(w)
	put := func(s string) bool {
		_, err := io.WriteString(w, s)
		return errors.Join(err, flush.Flush()) == nil
	}
	if !put(streamStart) {
		return
	}
	start := time.Now()
	for i := range events {
		due := start.Add(time.Duration(i+1) * pace)
		time.Sleep(time.Until(due))
		if !put(deltaBefore + strconv.FormatInt(due.UnixNano(), 10) + deltaAfter) {
			return
		}
	}
	put(streamEnd)
}

const (
	streamStart = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5-20250929\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":472,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":2}}}\n\n" +
		"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
	deltaBefore = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\""
	deltaAfter  = " and so it goes on\"}}\n\n"
	streamEnd   = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n" +
		"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":189}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
)

// answerBody is about 1 KB, requestBody about 2 KB.
var (
	answerBody = `{"id":"msg_01","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[{"type":"text","text":"` +
		strings.Repeat("It depends. ", 66) + `"}],"stop_reason":"end_turn","usage":{"input_tokens":472,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":189}}`
	requestBody = `{"model":"claude-sonnet-4-5","max_tokens":1024,"messages":[{"role":"user","content":"` +
		strings.Repeat("What does it depend on? ", 80) + `"}]}`
	streamBody = strings.Replace(requestBody, `"max_tokens"`, `"stream":true,"max_tokens"`, 1)
)
