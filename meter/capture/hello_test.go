package capture

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haltonlabs/halton-meter/proxyedge"
)

// TestBlindTunnel: what is not plainly ours reaches the provider's own TLS,
// with the ClientHello that was inspected.
func TestBlindTunnel(t *testing.T) {
	tests := []struct {
		reason string
		set    func(r *rig)
		client *tls.Config
		names  string // what the provider's certificate is to be for
	}{
		{reason: "sni", client: &tls.Config{ServerName: "public.example"}},
		{reason: "protocol", client: &tls.Config{ServerName: testHost, NextProtos: []string{"acme-tls/1"}}},
		{reason: "protocol", client: &tls.Config{
			ServerName: testHost, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		}},
		{
			reason: "unmetered", client: &tls.Config{ServerName: testHost},
			set: func(r *rig) { r.Metered = func(string, int) bool { return false } },
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			r := newRig(t, func(http.ResponseWriter, *http.Request) {}, func(r *rig) {
				if tt.set != nil {
					tt.set(r)
				}
				r.provider.TLS.NextProtos = []string{"h2", "http/1.1", "acme-tls/1"}
			})
			config := tt.client.Clone()
			config.InsecureSkipVerify = true
			var saw *x509.Certificate
			config.VerifyConnection = func(cs tls.ConnectionState) error {
				saw = cs.PeerCertificates[0]
				return nil
			}
			conn, err := tls.Dial("tcp", r.addr, config)
			if config.CipherSuites != nil {
				// The provider's certificate does not fit this client either,
				// and telling it so is the provider's business.
				if err == nil {
					t.Fatal("connected")
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				conn.Close()
				if !saw.Equal(r.provider.Certificate()) {
					t.Errorf("the client got a certificate of %s", saw.Issuer)
				}
			}
			if c := r.Counters(); c.Tunneled[tt.reason] != 1 || c.Intercepted != 0 || c.Rejected != 0 {
				t.Errorf("counters: %+v", c)
			}
		})
	}
}

// TestBlindEcho passes bytes that are no TLS, with half-closes, both ways.
func TestBlindEcho(t *testing.T) {
	tests := []struct {
		name, reason string
		chain        proxyedge.Chain
		sent         string
	}{
		{"another port", "port", proxyedge.Chain{Host: testHost, Port: 8443}, "hello"},
		{"nothing at all", "port", proxyedge.Chain{Host: testHost, Port: 8443}, ""},
		{"another host", "unpermitted", proxyedge.Chain{Host: "www.example.com", Port: 443}, "hello"},
		{"plain HTTP", "not-tls", testChain, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"short and closed", "not-tls", testChain, "hi"},
		{"old SSL", "not-tls", testChain, "\x80\x2e\x01\x03\x01" + string(make([]byte, 41))},
		{"a damaged ClientHello", "not-tls", testChain, "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00 and more"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dialled := make(chan string, 1)
			echo := rawDial(t, func(c net.Conn) {
				io.Copy(c, c)
				io.WriteString(c, "bye")
			})
			i := &Interceptor{
				Authority: newTestAuthority(t),
				Metered:   func(string, int) bool { return true },
				Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
					dialled <- addr
					return echo(ctx, network, addr)
				},
			}
			ours, theirs := tcpPair(t)
			handled := make(chan struct{})
			go func() {
				i.Handle(t.Context(), theirs, tt.chain)
				close(handled)
			}()
			io.WriteString(ours, tt.sent)
			if err := ours.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(ours); string(got) != tt.sent+"bye" || err != nil {
				t.Errorf("echo %q, %v", got, err)
			}
			if addr := <-dialled; addr != fmt.Sprintf("%s:%d", tt.chain.Host, tt.chain.Port) {
				t.Errorf("dialled %s", addr)
			}
			<-handled
			if c := i.Counters(); c.Tunneled[tt.reason] != 1 {
				t.Errorf("counters: %+v", c)
			}
			if err := i.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestProviderUnreachable: a blind tunnel that cannot be closes without a
// byte, which tells the edge to go direct.
func TestProviderUnreachable(t *testing.T) {
	i := &Interceptor{
		Authority: newTestAuthority(t),
		Dial:      func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("unreachable") },
	}
	defer i.Shutdown(t.Context())
	ours, theirs := tcpPair(t)
	go i.Handle(t.Context(), theirs, proxyedge.Chain{Host: testHost, Port: 444})
	if got, err := io.ReadAll(ours); len(got) > 0 || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestSilentClient: connections that are opened ahead of need, and dropped.
func TestSilentClient(t *testing.T) {
	i := &Interceptor{
		Authority: newTestAuthority(t),
		Metered:   func(string, int) bool { return true },
		Dial: func(context.Context, string, string) (net.Conn, error) {
			t.Error("the provider was dialled")
			return nil, errors.New("no")
		},
		Rejected: func(proxyedge.Chain, bool) { t.Error("counted as a rejection") },
	}
	defer i.Shutdown(t.Context())
	for _, sent := range []string{"", "\x16\x03"} {
		ours, theirs := tcpPair(t)
		io.WriteString(ours, sent)
		ours.Close()
		i.Handle(t.Context(), theirs, testChain) // returns
	}
}

func TestRejected(t *testing.T) {
	type rejection struct{ sure, ok, trusted bool }
	tests := []struct {
		name string
		act  func(t *testing.T, r *rig)
		want rejection
	}{
		{"does not trust us", func(t *testing.T, r *rig) {
			if _, err := tls.Dial("tcp", r.addr, &tls.Config{ServerName: testHost, RootCAs: x509.NewCertPool()}); err == nil {
				t.Error("it did")
			}
		}, rejection{sure: true, ok: true}},
		{"says so in clear", func(t *testing.T, r *rig) { refuseInClear(t, r.addr, 48) }, rejection{sure: true, ok: true}},
		{"dislikes it in clear", func(t *testing.T, r *rig) { refuseInClear(t, r.addr, 40) }, rejection{ok: true}},
		{"leaves in the handshake", func(t *testing.T, r *rig) {
			conn, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			tls.Client(hangUp{conn}, &tls.Config{ServerName: testHost}).Handshake()
		}, rejection{ok: true}},
		{"leaves without a request", func(t *testing.T, r *rig) { r.dialTLS(t).Close() }, rejection{ok: true}},
		{"sends a request", func(t *testing.T, r *rig) {
			conn := r.dialTLS(t)
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", testHost)
			if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
				t.Error(err)
			}
			conn.Close()
		}, rejection{trusted: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan rejection, 2)
			r := newRig(t, func(http.ResponseWriter, *http.Request) {}, func(r *rig) {
				r.Rejected = func(c proxyedge.Chain, sure bool) {
					if c.Host != testHost {
						t.Errorf("chain %+v", c)
					}
					got <- rejection{sure: sure, ok: true}
				}
				r.Trusted = func(proxyedge.Chain) { got <- rejection{trusted: true} }
			})
			tt.act(t, r)
			r.drain.await(t.Context(), r.drain.empty)
			close(got)
			if g := <-got; g != tt.want {
				t.Errorf("got %+v, want %+v", g, tt.want)
			}
			if g, more := <-got; more {
				t.Errorf("and %+v", g)
			}
		})
	}
}

// refuseInClear does as OpenSSL 3 does: having seen our certificate, it sends
// an alert that is not encrypted.
func refuseInClear(t *testing.T, addr string, description byte) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	m := &mute{Conn: conn}
	client := tls.Client(m, &tls.Config{
		ServerName: testHost, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13,
		VerifyConnection: func(tls.ConnectionState) error {
			m.closed = true
			// The first record is for middleboxes (RFC 8446, appendix D.4).
			_, err := conn.Write([]byte{20, 3, 3, 0, 1, 1, 21, 3, 3, 0, 2, 2, description})
			return errors.Join(err, errors.New("not trusted"))
		},
	})
	if client.Handshake() == nil {
		t.Error("the handshake succeeded")
	}
	io.Copy(io.Discard, conn)
	conn.Close()
}

// mute is a connection that from some moment on does not take what crypto/tls
// writes.
type mute struct {
	net.Conn
	closed bool
}

func (m *mute) Write(p []byte) (int, error) {
	if m.closed {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

// TestClearAlert: however the records are cut, an alert in clear is seen, and
// no encrypted one is taken for one.
func TestClearAlert(t *testing.T) {
	hello := slices.Clip(append([]byte{22, 3, 1, 1, 0}, make([]byte, 256)...))
	tests := map[string]struct {
		sent []byte
		want error
	}{
		"refused":          {append(hello, 21, 3, 3, 0, 2, 2, 48), tls.AlertError(48)},
		"closed":           {append(hello, 21, 3, 3, 0, 2, 1, 0), io.EOF},
		"encrypted":        {append(append(hello, 20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 19), make([]byte, 19)...), nil},
		"encrypted, 1.2":   {append(append(hello, 21, 3, 3, 0, 26), make([]byte, 26)...), nil},
		"after encryption": {append(hello, 23, 3, 3, 0, 2, 0, 0, 21, 3, 3, 0, 2, 2, 48), nil},
		"an empty record":  {append(hello, 22, 3, 3, 0, 0, 21, 3, 3, 0, 2, 2, 42), tls.AlertError(42)},
		"cut off":          {append(hello, 21, 3, 3, 0, 2, 2), nil},
	}
	for name, tt := range tests {
		for _, size := range []int{1, 2, 7, len(tt.sent)} {
			var c clearAlert
			var got error
			for p := range slices.Chunk(tt.sent, size) {
				if got = c.watch(p); got != nil {
					break
				}
			}
			if !errors.Is(got, tt.want) {
				t.Errorf("%s, %d bytes at a time: got %v, want %v", name, size, got, tt.want)
			}
		}
	}
}

// TestLateAnswer: a client whose edge may have lost patience with us, and gone
// direct, has rejected nothing.
func TestLateAnswer(t *testing.T) {
	for delay, want := range map[time.Duration]bool{0: true, patience - 1: true, patience: false} {
		t.Run(delay.String(), func(t *testing.T) {
			authority := newTestAuthority(t)
			if _, err := authority.Leaf(testHost); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				rejected := false
				i := &Interceptor{
					Authority: authority, Metered: func(string, int) bool { return true },
					Rejected: func(proxyedge.Chain, bool) { rejected = true },
				}
				var hello recorder
				tls.Client(&hello, &tls.Config{ServerName: testHost}).Handshake()
				ours, theirs := net.Pipe()
				go func() {
					ours.Write(hello.sent[:10])
					time.Sleep(delay)
					ours.Write(hello.sent[10:])
					go io.Copy(io.Discard, ours)
					time.Sleep(time.Second)
					ours.Close()
				}()
				i.Handle(t.Context(), theirs, testChain)
				if rejected != want {
					t.Errorf("rejected: %v, want %v", rejected, want)
				}
				if err := i.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// hangUp closes a connection at the first byte of an answer.
type hangUp struct{ net.Conn }

func (h hangUp) Read(p []byte) (int, error) {
	_, err := h.Conn.Read(p[:1])
	h.Conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, h.Conn)
	h.Conn.Close()
	return 0, err
}

// TestResumption: a second connection resumes the first one's session.
func TestResumption(t *testing.T) {
	r := newRig(t, func(http.ResponseWriter, *http.Request) {})
	config := &tls.Config{RootCAs: r.trust, ServerName: testHost, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for _, want := range []bool{false, true} {
		conn, err := tls.Dial("tcp", r.addr, config)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", testHost)
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Error(err)
		}
		if got := conn.ConnectionState().DidResume; got != want {
			t.Errorf("resumed: %v, want %v", got, want)
		}
		conn.Close()
	}
}

// tcpPair returns the two ends of a connection.
func tcpPair(t *testing.T) (ours, theirs *net.TCPConn) {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); theirs.Close() })
	return conn.(*net.TCPConn), theirs
}

// FuzzHello: whatever a client sends first, it is tunnelled as it is or, if it
// is a ClientHello for the host, answered in TLS; nothing panics or is lost.
func FuzzHello(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{22, 3, 1, 0, 5, 1, 0, 0, 1, 0})
	f.Add([]byte{22, 3, 1, 255, 255})
	f.Add([]byte{21, 3, 1, 0, 2, 1, 0})
	var hello recorder
	tls.Client(&hello, &tls.Config{ServerName: testHost}).Handshake()
	f.Add(hello.sent)
	f.Fuzz(func(t *testing.T, data []byte) {
		var provider sync.WaitGroup
		i := &Interceptor{
			Authority: newTestAuthority(t),
			Metered:   func(string, int) bool { return true },
			Dial: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				provider.Go(func() {
					got := make([]byte, len(data))
					if n, err := io.ReadFull(theirs, got); err != nil || string(got) != string(data) {
						t.Errorf("the provider got %q, %v", got[:n], err)
					}
					theirs.Close()
				})
				return ours, nil
			},
		}
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, ours)
		go func() {
			ours.Write(data)
			ours.Close()
		}()
		i.Handle(t.Context(), theirs, testChain)
		if err := i.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		provider.Wait()
	})
}

// recorder is a connection that takes what is sent, and is then closed.
type recorder struct {
	net.Conn
	sent []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.sent = append(r.sent, p...)
	return len(p), nil
}

func (r *recorder) Read([]byte) (int, error) { return 0, io.EOF }
func (r *recorder) Close() error             { return nil }
