package meter

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/meter/capture"
)

func TestUnread(t *testing.T) {
	until := time.Date(2026, 11, 23, 12, 30, 0, 0, time.Local)
	got := unread([]capture.Bypassed{
		{Host: "a.example.com", Reason: "untrusted", Err: x509.UnknownAuthorityError{}, Until: until},
		{Host: "b.example.com", Reason: "challenged", Until: until},
		{Host: "c.example.com", Reason: "untrusted", Err: errors.New("expired"), Until: until},
	}, capture.Counters{Tunneled: map[string]int64{"sni": 2, "port": 9}})
	want := []string{
		"the certificate of a.example.com does not verify, and its calls pass unmetered until it does: x509: certificate signed by unknown authority",
		"b.example.com took the meter for a bot (a Cloudflare challenge), and passes unmetered until 12:30:00",
		"the certificate of c.example.com does not verify, and its calls pass unmetered until it does: expired",
		"connections that passed unmetered because the client named another server than the tunnel does, as with an encrypted ClientHello: 2 since the daemon's start",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
