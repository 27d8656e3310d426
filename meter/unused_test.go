package meter_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// A program that opens connections that it does not need is not taken for one
// that does not trust us, once it has sent a request.
func TestUnusedConnectionsTeachNothing(t *testing.T) {
	w := newWorld(t)
	w.start()
	c := w.client()
	w.play(c)
	config := c.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = "api.anthropic.com"
	for range 10 {
		raw, err := net.Dial("tcp", w.edge)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(raw, "CONNECT api.anthropic.com:443 HTTP/1.1\r\nHost: api.anthropic.com:443\r\n\r\n")
		if res, err := http.ReadResponse(bufio.NewReader(raw), nil); err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
		conn := tls.Client(raw, config)
		if err := conn.Handshake(); err != nil {
			t.Fatal(err)
		}
		if issuer := conn.ConnectionState().PeerCertificates[0].Issuer.CommonName; !strings.HasPrefix(issuer, "Halton Meter CA") {
			t.Fatalf("the connection passes unmetered: %s", issuer)
		}
		conn.Close()
		raw.Close()
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
}
