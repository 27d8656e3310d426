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
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

var testChain = proxyedge.Chain{Host: testHost, Port: 443}

// TestErrorOfBrokenResponse: what a provider sent is not in an error's text.
func TestErrorOfBrokenResponse(t *testing.T) {
	const secret, ok = "SECRET", "HTTP/1.1 200 OK\r\n"
	for _, sent := range []string{
		secret + "\r\n\r\n", "HTTP/" + secret + " 200 OK\r\n\r\n", "HTTP/1.1 " + secret + "\r\n\r\n",
		ok + secret + "\r\n\r\n", ok + " " + secret + ": 1\r\n\r\n",
		ok + "X: 1\r\n" + secret + "\x00\r\n\r\n", ok + "Content-Length: " + secret + "\r\n\r\n",
		ok + "Content-Length: 1\r\nContent-Length: 2" + secret + "\r\n\r\n", ok + "Transfer-Encoding: " + secret + "\r\n\r\n",
		ok + "Transfer-Encoding: chunked\r\nTrailer: Content-Length, " + secret + "\r\n\r\n",
	} {
		_, err := http.ReadResponse(bufio.NewReader(strings.NewReader(sent)), nil)
		if err == nil {
			t.Errorf("%q: no error", sent)
		} else if text := unquoted(fmt.Errorf("net/http: %w", err)); strings.Contains(text, secret) || text == "" {
			t.Errorf("%q: %s", sent, text)
		}
	}
}

// TestUnverifiedProvider: no certificate that does not verify is talked to.
func TestUnverifiedProvider(t *testing.T) {
	tests := map[string]func(*testing.T, *testRoot) tls.Certificate{
		"expired": func(t *testing.T, r *testRoot) tls.Certificate {
			return r.issue(t, leafSpec{host: testHost, expired: true})
		},
		"wrong host": func(t *testing.T, r *testRoot) tls.Certificate { return r.issue(t, leafSpec{host: "www.example.com"}) },
		"self-signed": func(t *testing.T, r *testRoot) tls.Certificate {
			return r.issue(t, leafSpec{host: testHost, selfSigned: true})
		},
		"unknown issuer": func(t *testing.T, _ *testRoot) tls.Certificate {
			return newTestRoot(t).issue(t, leafSpec{host: testHost})
		},
	}
	for name, issue := range tests {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, major int) {
				r := newRig(t, func(http.ResponseWriter, *http.Request) {
					t.Error("the provider got the request")
				}, func(r *rig) {
					root := newTestRoot(t)
					r.RootCAs = root.pool
					r.provider.TLS.Certificates = []tls.Certificate{issue(t, root)}
				})
				if err := r.Admit(testChain); err != nil {
					t.Fatalf("refused at first: %v", err)
				}
				c := r.client(t, major)
				res, err := c.Do(newRequest(t, "POST", metered, strings.NewReader("{}")))
				if err == nil {
					t.Fatalf("an answer: %s", res.Status)
				}
				rec := r.record(t, tap.UpstreamFailed)
				var unverified *tls.CertificateVerificationError
				if !errors.As(rec.Err, &unverified) || rec.HTTPStatus != 0 {
					t.Errorf("record with %v, status %d", rec.Err, rec.HTTPStatus)
				}
				if err := r.Admit(testChain); err == nil || err.Error() != "untrusted" || !r.Untrusted(testHost) {
					t.Errorf("Admit afterwards: %v", err)
				}
				if b := r.Bypassed(); len(b) != 1 || b[0].Host != testHost || b[0].Reason != "untrusted" || !errors.As(b[0].Err, &unverified) {
					t.Errorf("bypassed: %+v", b)
				}
				// Whoever did not ask Admit is tunnelled, and sees the
				// provider's own certificate.
				conn, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: testHost})
				if err := secure.Handshake(); err != nil {
					t.Fatal(err)
				}
				if got := secure.ConnectionState().PeerCertificates[0]; !got.Equal(r.provider.Certificate()) {
					t.Errorf("the client got the certificate of %s", got.Issuer)
				}
				if n := r.Counters().Tunneled["bypassed"]; n != 1 {
					t.Errorf("counted %d", n)
				}
			})
		})
	}
}

// TestNoInventedAnswer reads the raw bytes after each way to fail before the
// head of the response.
func TestNoInventedAnswer(t *testing.T) {
	tests := map[string]func(t *testing.T, r *rig){
		"refused": func(_ *testing.T, r *rig) {
			r.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }
		},
		"closed in the handshake": func(t *testing.T, r *rig) { r.Dial = rawDial(t, func(net.Conn) {}) },
		"no TLS": func(t *testing.T, r *rig) {
			r.Dial = rawDial(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.0 400 Bad Request\r\n\r\n") })
		},
		"closed after the request": func(t *testing.T, r *rig) {
			r.Dial = tlsDial(t, r, func(c net.Conn) { c.Read(make([]byte, 1000)) })
		},
		"garbage": func(t *testing.T, r *rig) {
			r.Dial = tlsDial(t, r, func(c net.Conn) { c.Read(make([]byte, 1000)); io.WriteString(c, "?\r\n\r\n") })
		},
		"half a head": func(t *testing.T, r *rig) {
			r.Dial = tlsDial(t, r, func(c net.Conn) {
				c.Read(make([]byte, 1000))
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Len")
			})
		},
	}
	for name, set := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil, func(r *rig) { set(t, r) })
			conn := r.dialTLS(t)
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 2\r\n\r\n{}", metered, testHost)
			if got, err := io.ReadAll(conn); len(got) > 0 {
				t.Errorf("the client got %q, %v", got, err)
			}
			rec := r.record(t, tap.UpstreamFailed)
			if rec.HTTPStatus != 0 {
				t.Errorf("status %d", rec.HTTPStatus)
			}
			if r.Counters().Failed != 1 {
				t.Errorf("counters: %+v", r.Counters())
			}
			if r.Untrusted(testHost) {
				t.Error("the host is untrusted without a bad certificate")
			}
		})
	}
}

func rawDial(t *testing.T, serve func(net.Conn)) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serve(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return dialTo(ln.Addr())
}

func tlsDial(t *testing.T, r *rig, serve func(net.Conn)) func(context.Context, string, string) (net.Conn, error) {
	config := r.provider.TLS.Clone()
	return rawDial(t, func(c net.Conn) {
		secure := tls.Server(c, config)
		defer secure.Close()
		if secure.Handshake() == nil {
			serve(secure)
		}
	})
}

// TestProviderBreaksOff: what came is delivered, and the end is no clean end.
func TestProviderBreaksOff(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		for _, length := range []string{"", "1000"} {
			r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
				io.Copy(io.Discard, req.Body)
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				io.WriteString(w, "partial")
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})
			res, err := r.client(t, major).Do(newRequest(t, "POST", metered, strings.NewReader("{}")))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if string(body) != "partial" || err == nil {
				t.Errorf("length %q: got %q, %v", length, body, err)
			}
			if rec := r.record(t, tap.UpstreamFailed); rec.HTTPStatus != 200 {
				t.Errorf("status %d", rec.HTTPStatus)
			}
		}
	})
}

// TestUntrustedConnectionCloses: an HTTP/2 client must come back with a new
// CONNECT, or Admit could not send it past us.
func TestUntrustedConnectionCloses(t *testing.T) {
	r := newRig(t, nil, func(r *rig) { r.RootCAs = x509.NewCertPool() })
	c := r.client(t, 2)
	for range 2 {
		if _, err := c.Do(newRequest(t, "GET", "/v1/models", nil)); err == nil {
			t.Fatal("an answer")
		}
	}
	if n := r.Counters().Tunneled["bypassed"]; n != 1 {
		t.Errorf("the second request came over the same connection: %+v", r.Counters())
	}
}

func TestRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newTestRoot(t)
		good, bad := root.issue(t, leafSpec{host: testHost}), root.issue(t, leafSpec{host: "captive.example"})
		present := bad
		checks := 0
		i := &Interceptor{Authority: newTestAuthority(t), RootCAs: root.pool}
		i.Dial = func(context.Context, string, string) (net.Conn, error) {
			checks++
			ours, theirs := net.Pipe()
			go func() {
				s := tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{present}})
				s.Handshake()
				io.Copy(io.Discard, theirs)
			}()
			return ours, nil
		}
		i.bypass.add(testHost, reasonUntrusted, nil)
		admit := func(want string, wantChecks int) {
			t.Helper()
			got := ""
			if err := i.Admit(testChain); err != nil {
				got = err.Error()
			}
			synctest.Wait()
			if got != want || checks != wantChecks {
				t.Errorf("Admit: %q after %d checks, want %q after %d", got, checks, want, wantChecks)
			}
		}
		admit("untrusted", 0)
		time.Sleep(recheckEvery - 1)
		admit("untrusted", 0)
		time.Sleep(1)
		admit("untrusted", 1)
		admit("untrusted", 1)
		present = good
		time.Sleep(recheckEvery)
		admit("untrusted", 2) // this time it verified
		admit("", 2)
		if err := i.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		admit("draining", 2)
	})
}

func TestChallenge(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Cf-Mitigated", "challenge")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "<html>")
	})
	c := r.client(t, 1)
	res, body := do(t, c, newRequest(t, "POST", metered, strings.NewReader("{}")))
	if res.StatusCode != 403 || string(body) != "<html>" || !res.Close {
		t.Errorf("%s %q, close %v", res.Status, body, res.Close)
	}
	r.record(t, tap.Completed)
	if b := r.Bypassed(); len(b) != 1 || b[0].Host != testHost || b[0].Reason != "challenged" {
		t.Errorf("bypassed: %+v", b)
	}
	if err := r.Admit(testChain); err == nil || err.Error() != "challenged" {
		t.Errorf("Admit: %v", err)
	}
	if r.Untrusted(testHost) {
		t.Error("Untrusted")
	}
	synctest.Test(t, func(t *testing.T) {
		var b bypass
		b.add(testHost, reasonChallenged, nil)
		time.Sleep(challengeTime - 1)
		if b.reason(testHost) == "" {
			t.Error("forgotten too early")
		}
		time.Sleep(1)
		if b.reason(testHost) != "" {
			t.Error("not forgotten")
		}
	})
}

// TestHookPanics: metering must not harm the exchange.
func TestHookPanics(t *testing.T) {
	hooks := map[string]func(r *rig){
		"Opened": func(r *rig) { r.Opened = func(*tap.Exchange) { panic("opened") } },
		"NewID":  func(r *rig) { r.NewID = func() string { panic("id") } },
		"Lookup": func(r *rig) {
			r.Lookup = func(string, string, string) (e provider.Endpoint, ok bool) { panic("lookup") }
		},
	}
	for name, set := range hooks {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(w http.ResponseWriter, req *http.Request) { io.Copy(w, req.Body) }, set)
			if _, body := do(t, r.client(t, 2), newRequest(t, "POST", metered, strings.NewReader("{}"))); string(body) != "{}" {
				t.Errorf("got %q", body)
			}
		})
	}
}

func TestAdmit(t *testing.T) {
	i := &Interceptor{Authority: newTestAuthority(t)}
	defer i.Shutdown(t.Context())
	for host, want := range map[string]string{testHost: "", "www.example.com": "unpermitted"} {
		got := ""
		if err := i.Admit(proxyedge.Chain{Host: host, Port: 443}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("Admit(%s): %q, want %q", host, got, want)
		}
	}
}

func TestSlept(t *testing.T) {
	for _, tt := range []struct {
		wall, mono time.Duration
		want       bool
	}{
		{time.Hour, time.Hour, false},
		{time.Hour, time.Hour - 5*time.Second, false},
		{time.Hour, time.Minute, true},
		{-time.Hour, time.Minute, false}, // the clock was set back
	} {
		if got := slept(tt.wall, tt.mono); got != tt.want {
			t.Errorf("slept(%v, %v) = %v", tt.wall, tt.mono, got)
		}
	}
	var d wakeDetector
	now := time.Now()
	if d.woke(now) || d.woke(now.Add(time.Hour)) {
		t.Error("woke without a sleep")
	}
}
