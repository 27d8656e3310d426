package meter

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/internal/reserved"
	"github.com/haltonlabs/halton-meter/internal/version"
	"github.com/haltonlabs/halton-meter/meter/ca"
)

// selfTestTimeout bounds a self-test, whose client is on this machine.
const selfTestTimeout = 10 * time.Second

// answerSelfTest serves one request to the reserved name, under a leaf of the
// local authority, as every metered call is. Nothing leaves the machine, and
// there is no row: it was no call.
func answerSelfTest(ctx context.Context, conn net.Conn, authority *ca.Authority) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(selfTestTimeout))
	secure := tls.Server(conn, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return authority.Leaf(reserved.Metered) },
	})
	// A client that does not trust the leaf says so to itself.
	req, err := http.ReadRequest(bufio.NewReader(secure))
	if err != nil {
		return
	}
	const body = "metered\n"
	res := &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Close: true, Request: req,
		Header:        http.Header{"Content-Type": {"text/plain"}, "Halton-Meter": {version.Version}},
		ContentLength: int64(len(body)),
		Body:          io.NopCloser(strings.NewReader(body)),
	}
	if res.Write(secure) == nil {
		_ = secure.Close()
	}
}
