package proxyedge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// echoWorld is an origin and a daemon that both echo, and an edge process
// before them. A client that begins with "\x16!" gets an end at once, and is
// heard to its own.
func echoWorld(t *testing.T) (p *edgeProcess, heard chan string) {
	t.Helper()
	heard = make(chan string, 100)
	echo := func(conn net.Conn) {
		b := make([]byte, 32<<10)
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		if bytes.HasPrefix(b[:n], []byte("\x16!")) {
			conn.Write([]byte("that is all"))
			conn.(*net.TCPConn).CloseWrite()
			rest, err := io.ReadAll(conn)
			heard <- fmt.Sprint(string(b[:n])+string(rest), err)
			return
		}
		if bytes.HasPrefix(b[:n], []byte("GET ")) {
			answerAll(conn, io.MultiReader(bytes.NewReader(b[:n]), conn))
			return
		}
		for err == nil {
			if _, err = conn.Write(b[:n]); err == nil {
				n, err = conn.Read(b)
			}
		}
		if errors.Is(err, io.EOF) {
			conn.(*net.TCPConn).CloseWrite()
		}
	}
	daemon, _ := receive(t, nil, func(conn net.Conn, _ Chain) { echo(conn) })
	return startEdge(t, stranger(t, echo), daemon), heard
}

// answerAll is an HTTP server on one connection.
func answerAll(conn net.Conn, r io.Reader) {
	in := bufio.NewReader(r)
	for {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

const elsewhere = "elsewhere.example"

// Ten upgrades in place under 50 tunnels of all kinds: none is cut, no byte is
// lost or comes twice, and whoever connects meanwhile is served.
func TestUpgradesUnderLoad(t *testing.T) {
	noLeaks(t)
	const tunnels, upgrades = 50, 10
	p, heard := echoWorld(t)
	p.tell("c")
	baseline, ofAChild := p.Descriptors, p.OfAChild
	stop := make(chan struct{})
	var running sync.WaitGroup
	ending := sync.OnceFunc(func() { close(stop); running.Wait() })
	defer ending()
	var idle, halved []*client
	for i := range tunnels {
		c := p.connect([]string{metered, elsewhere}[i%2])
		switch {
		case i%10 < 2: // idle, before and after the commit point
			idle = append(idle, c)
			if i%4 < 2 {
				c.send("\x16")
				c.expect("\x16")
			}
		case i%10 < 4: // its peer has closed its half
			halved = append(halved, c)
			c.send("\x16!")
			c.expect("that is all")
			if _, err := c.r.ReadByte(); err != io.EOF {
				t.Fatalf("the peer's end: %v", err)
			}
		default:
			running.Go(func() { babble(t, c, uint64(i), stop) })
		}
	}
	addr := p.Addr
	var fresh atomic.Int64
	for i := range 2 {
		running.Go(func() {
			for !isClosed(stop) {
				knock(t, addr, []string{metered, elsewhere}[i])
				fresh.Add(1)
			}
		})
	}
	for range upgrades {
		before := fresh.Load()
		p.upgrade()
		for fresh.Load() < before+3 && !t.Failed() {
			time.Sleep(time.Millisecond) // for what other goroutines do
		}
	}
	ending()
	for _, c := range idle {
		c.send("\x16still here")
		c.expect("\x16still here")
		c.Close()
	}
	for i, c := range halved {
		c.send(fmt.Sprint(i))
		c.Close()
		if got := <-heard; !strings.HasPrefix(got, "\x16!") || !strings.HasSuffix(got, "<nil>") {
			t.Errorf("a peer that had closed its half heard %q", got)
		}
	}
	for p.tell("s"); p.Status.Open > 0; p.tell("s") {
	}
	if s := p.Status; s.Failed > 0 || s.Lost > 0 || int64(s.Metered+s.Passthrough) != tunnels+fresh.Load() {
		t.Errorf("counted %+v for %d tunnels", s, tunnels+fresh.Load())
	}
	// The runtime keeps a few of its own.
	if p.Descriptors > baseline+4 {
		t.Errorf("%d descriptors are open, %d were at first", p.Descriptors, baseline)
	}
	p.tell("c")
	if p.OfAChild != ofAChild {
		t.Errorf("a child has the descriptors %s, and had %s at first", p.OfAChild, ofAChild)
	}
	t.Logf("%d new tunnels during the upgrades", fresh.Load())
}

// babble sends pieces of all sizes until stop, and wants each byte back once.
func babble(t *testing.T, c *client, seed uint64, stop <-chan struct{}) {
	noise := func() io.Reader { return rand.NewChaCha8([32]byte{byte(seed), 1}) }
	sizes := rand.New(rand.NewPCG(seed, 2))
	sent := make(chan int64, 1)
	go func() {
		total, from := int64(0), noise()
		defer func() { c.CloseWrite(); sent <- total }()
		// Paced, so that 50 of them leave the machine some time for others.
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		if _, err := c.Write([]byte{tlsHandshake}); err != nil {
			t.Error(err)
		}
		for !isClosed(stop) {
			<-pace.C
			piece := make([]byte, 1+sizes.IntN(20_000))
			from.Read(piece)
			n, err := c.Write(piece)
			total += int64(n)
			if err != nil {
				t.Errorf("tunnel %d is cut after %d bytes: %v", seed, total, err)
				return
			}
		}
	}()
	if first, err := c.r.ReadByte(); err != nil || first != tlsHandshake {
		t.Errorf("tunnel %d begins with %d, %v", seed, first, err)
	}
	want, got, expected := noise(), make([]byte, 16<<10), make([]byte, 16<<10)
	var total int64
	for {
		n, err := c.r.Read(got)
		want.Read(expected[:n])
		if !bytes.Equal(got[:n], expected[:n]) {
			t.Errorf("tunnel %d: other bytes came back behind %d", seed, total)
			c.Close()
			break
		}
		total += int64(n)
		if err != nil {
			if err != io.EOF {
				t.Errorf("tunnel %d is cut at %d bytes: %v", seed, total, err)
			}
			break
		}
	}
	if n := <-sent; n != total {
		t.Errorf("tunnel %d: %d bytes sent, %d came back", seed, n, total)
	}
}

// knock opens a tunnel, uses and closes it.
func knock(t *testing.T, addr, host string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Errorf("refused: %v", err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	want := established + "\x16hello"
	fmt.Fprintf(conn, "CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n\x16hello", host, host)
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Errorf("a new tunnel read %q: %v", got[:n], err)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// An upgrade to what cannot be run leaves everything as it was.
func TestAFailedUpgradeDisturbsNothing(t *testing.T) {
	p, _ := echoWorld(t)
	stop := make(chan struct{})
	var running sync.WaitGroup
	ending := sync.OnceFunc(func() { close(stop); running.Wait() })
	defer ending()
	for i := range 10 {
		c := p.connect([]string{metered, elsewhere}[i%2])
		running.Go(func() { babble(t, c, uint64(i), stop) })
	}
	half := dialClient(t, p.Addr)
	half.send("CONNECT " + metered)
	idle := keptAlive(t, p.Addr)
	for range 5 {
		generation := p.Generation
		p.tell("b")
		if p.Error == "" || p.Generation != generation {
			t.Fatalf("an upgrade to %q: %+v", "/dev/null", p.edgeAnswer)
		}
		knock(t, p.Addr, metered)
		idle.ask()
	}
	half.send(":443 HTTP/1.1\r\n\r\n\x16")
	half.expect(established + "\x16")
	ending()
}

// What is at rest in the middle of something goes on there: half a request
// head, a connection between two requests, a tunnel whose client has said
// nothing yet.
func TestUpgradeBetweenTheSteps(t *testing.T) {
	p, _ := echoWorld(t)
	silent, half := dialClient(t, p.Addr), dialClient(t, p.Addr)
	half.send("CONNECT " + metered)
	idle := keptAlive(t, p.Addr)
	uncommitted := p.connect(metered)
	for range 3 {
		p.upgrade()
		idle.ask()
	}
	half.send(":443 HTTP/1.1\r\n\r\n\x16")
	half.expect(established + "\x16")
	silent.send("CONNECT " + elsewhere + ":443 HTTP/1.1\r\n\r\nx")
	silent.expect(established + "x")
	uncommitted.send("\x16first")
	uncommitted.expect("\x16first")
	p.upgrade()
	idle.send("CONNECT " + elsewhere + ":443 HTTP/1.1\r\n\r\ny")
	idle.expect(established + "y")
	p.upgrade()
	idle.send("z")
	idle.expect("z")
	p.tell("s")
	if s := p.Status; s.Metered != 2 || s.Failed+s.Aborted+s.Lost > 0 {
		t.Errorf("counted %+v", s)
	}
}

// keptAlive is a client of the base URL on one connection.
type keptAliveClient struct{ *client }

func keptAlive(t *testing.T, addr string) keptAliveClient {
	t.Helper()
	k := keptAliveClient{dialClient(t, addr)}
	k.ask()
	return k
}

func (k keptAliveClient) ask() {
	k.t.Helper()
	k.send("GET /origin/x HTTP/1.1\r\nHost: edge\r\n\r\n")
	k.answered()
}

func (c *client) answered() {
	c.t.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "ok" {
		c.t.Fatalf("read %q, %v", body, err)
	}
}

// A request that has not finished is waited for; the upgrade is put off rather
// than the request cut.
func TestUpgradeWaitsForRequests(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	origin := stranger(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			began <- struct{}{}
			<-release
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	p := startEdge(t, origin, closedPort(t))
	c := dialClient(t, p.Addr)
	c.send("GET /origin/x HTTP/1.1\r\nHost: edge\r\n\r\n")
	<-began
	p.tell("h")
	if !strings.Contains(p.Error, ErrBusy.Error()) {
		t.Fatalf("an upgrade under a request: %+v", p.edgeAnswer)
	}
	// Now it is waited for. A request that comes meanwhile waits too, and is
	// answered by the next program.
	if _, err := io.WriteString(p.in, "u"); err != nil {
		t.Fatal(err)
	}
	other := dialClient(t, p.Addr)
	other.send("GET /origin/y HTTP/1.1\r\nHost: edge\r\n\r\n")
	release <- struct{}{}
	c.answered()
	<-began
	release <- struct{}{}
	other.answered()
	if p.hear(); p.Error != "" || p.Generation != 1 {
		t.Fatalf("after the request: %+v", p.edgeAnswer)
	}
	c.send("GET /origin/z HTTP/1.1\r\nHost: edge\r\n\r\n")
	<-began
	release <- struct{}{}
	c.answered()
}

// A record that the new program cannot read costs the tunnels, and nothing
// else.
func TestAnUnreadableHandover(t *testing.T) {
	p, _ := echoWorld(t)
	c := p.connect(metered)
	c.send("\x16")
	c.expect("\x16")
	addr, baseline := p.Addr, p.Descriptors
	p.tell("g")
	if p.Handover == "" || p.Error != "" || p.Addr != addr || p.Generation != 1 {
		t.Fatalf("the next program: %+v", p.edgeAnswer)
	}
	if _, err := c.r.ReadByte(); err == nil {
		t.Error("the tunnel goes on")
	}
	if p.Descriptors > baseline {
		t.Errorf("%d descriptors, %d were at first", p.Descriptors, baseline)
	}
	knock(t, p.Addr, metered)
	p.upgrade()
	knock(t, p.Addr, metered)
}

// What cannot be handed over keeps an edge from upgrading, and nothing of it
// is disturbed.
func TestUpgradeIsRefusedForWhatCannotMove(t *testing.T) {
	w := newWorld(t, "", func(e *Edge) {
		dial := e.Dial
		e.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			return struct{ net.Conn }{conn}, err
		}
	})
	c := w.connect("")
	for range 2 {
		if err := w.Upgrade(t.Context(), "/bin/false", nil, nil); !errors.Is(err, ErrBusy) {
			t.Fatalf("Upgrade: %v", err)
		}
		c.send("x")
		c.expect("x")
	}
}
