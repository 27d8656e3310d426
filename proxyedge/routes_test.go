package proxyedge

import (
	"bytes"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

// A base URL that leads nowhere is a mistake of the program's author: it is
// logged once, is not offered to clients, and leaves the others alone.
func TestUnusableRoutesAreLoggedAndLeftOut(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, "", func(e *Edge) {
		e.Logger = slog.New(slog.NewTextHandler(&log, nil))
		e.Routes = []Route{
			{Prefix: "/none"},
			{Prefix: "/ftp", Target: &url.URL{Scheme: "ftp", Host: "a.example"}},
			{Prefix: "/host", Target: &url.URL{Scheme: "http"}},
			{Prefix: "slash", Target: &url.URL{Scheme: "http", Host: "a.example"}},
			{Prefix: "/good", Target: &url.URL{Scheme: "http", Host: "a.example"}},
		}
	})
	for _, path := range []string{"/none/x", "/ftp/x", "/host/x", "/slash/x"} {
		c := dialClient(t, w.addr)
		c.send("GET " + path + " HTTP/1.1\r\nHost: edge\r\n\r\n")
		answer, err := io.ReadAll(c.r)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 404 ") || !strings.HasSuffix(string(answer), "there are /good\n") {
			t.Errorf("GET %s: %q, %v", path, answer, err)
		}
	}
	w.stop()
	for _, prefix := range []string{"/none", "/ftp", "/host", "slash"} {
		if n := strings.Count(log.String(), "edge.route.unusable prefix="+prefix+" "); n != 1 {
			t.Errorf("%s is logged %d times: %s", prefix, n, log.String())
		}
	}
}
