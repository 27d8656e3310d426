package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// meteredHost is the provider whose name the metered calls carry. They never
// leave this machine: the origin has a certificate for it, and each contender
// is told to reach everything through the origin.
const meteredHost = "api.anthropic.com"

// contender is one way to the origin.
type contender struct {
	name string
	// addr is where a client connects to.
	addr string
	// connect: it is a proxy, and wants a CONNECT. A TCP relay and the origin
	// itself do not.
	connect bool
	// target is what a CONNECT asks for.
	target string
	// trust verifies the certificate that a client sees for meteredHost; nil
	// if the contender is not asked for it.
	trust *tls.Config
	// pids are its processes; nil for none.
	pids func() []int
}

// to is the contender with another target and name.
func (c contender) to(name, target string) contender {
	c.name, c.target = name, target
	return c
}

// usage is what the contender's processes use.
func (c contender) usage() (usage, error) {
	if c.pids == nil {
		return usage{}, errUnmeasured
	}
	return usageOf(c.pids())
}

const connectOK = http.StatusOK

// open opens a tunnel, and returns when the contender says that it stands.
func (c contender) open(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.name, err)
	}
	if !c.connect {
		return conn, nil
	}
	// The end of ctx must end the wait too; a measured path pays for no timer.
	if err := c.ask(ctx, conn); err != nil {
		conn.Close()
		return nil, fmt.Errorf("open tunnel through %s: %w", c.name, err)
	}
	return conn, nil
}

func (c contender) ask(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, "CONNECT "+c.target+" HTTP/1.1\r\nHost: "+c.target+"\r\n\r\n"); err != nil {
		return err
	}
	status, err := readAnswer(conn)
	if err != nil {
		return err
	}
	if status != connectOK {
		return fmt.Errorf("it answered %d", status)
	}
	return nil
}

// readAnswer reads the answer to a CONNECT and not a byte more: nothing
// follows it before the client has spoken.
func readAnswer(conn net.Conn) (status int, err error) {
	var head [2048]byte
	n := 0
	for {
		m, err := conn.Read(head[n:])
		if err != nil {
			return 0, err
		}
		n += m
		if n >= 4 && string(head[n-4:n]) == "\r\n\r\n" {
			break
		}
		if n == len(head) {
			return 0, errors.New("its answer is too long")
		}
	}
	if _, err := fmt.Sscanf(string(head[:n]), "HTTP/1.%1d %3d", new(int), &status); err != nil {
		return 0, fmt.Errorf("its answer is no HTTP: %.40q", head[:n])
	}
	return status, nil
}

// caller is a client with a TLS connection that it keeps.
type caller struct {
	conn net.Conn
	in   *bufio.Reader
}

// call opens a tunnel and shakes hands.
func (c contender) call(ctx context.Context) (*caller, error) {
	conn, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	client, err := c.callOn(ctx, conn)
	if err != nil {
		conn.Close()
	}
	return client, err
}

// callOn shakes hands in a tunnel that is open.
func (c contender) callOn(ctx context.Context, conn net.Conn) (*caller, error) {
	secure := tls.Client(conn, c.trust)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("shake hands through %s: %w", c.name, err)
	}
	return &caller{secure, bufio.NewReaderSize(secure, 4<<10)}, nil
}

func (c *caller) close() { c.conn.Close() }

// send sends a request whose answer the caller reads.
func (c *caller) send(query, body string) (*http.Response, error) {
	head := fmt.Sprintf("POST /v1/messages%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAnthropic-Version: 2023-06-01\r\nContent-Length: %d\r\n\r\n", query, meteredHost, len(body))
	if _, err := io.WriteString(c.conn, head+body); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, fmt.Errorf("the answer has status %d", res.StatusCode)
	}
	return res, nil
}

// exchange does one whole request.
func (c *caller) exchange() error {
	res, err := c.send("", requestBody)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && n != int64(len(answerBody)) {
		err = fmt.Errorf("the answer has %d bytes, want %d", n, len(answerBody))
	}
	return err
}
