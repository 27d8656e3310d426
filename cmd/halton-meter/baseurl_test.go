package main

import (
	"bytes"
	"net/http"
	"net/url"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/provider"
)

// baseURL sends requests for a provider to the edge's base URL for it, as an
// SDK does that has one in its environment: no proxy, and no CA of ours.
type baseURL struct{ edge, project string }

func (b baseURL) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	for _, u := range provider.BaseURLs() {
		if u.Host == req.URL.Host {
			at := &url.URL{Scheme: "http", Host: b.edge, Path: "/p/" + b.project + u.Prefix + req.URL.Path, RawQuery: req.URL.RawQuery}
			req.URL, req.Host = at, ""
		}
	}
	return http.DefaultTransport.RoundTrip(req)
}

// Through a base URL a client reads the same bytes with the daemon up and
// down, and has rows while it is up.
func TestBaseURLs(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	proxy, err := m.client("x").Transport.(*http.Transport).Proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: "api.anthropic.com"}})
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, u := range provider.BaseURLs() {
		served[u.Host] = true
	}
	client := &http.Client{Transport: baseURL{edge: proxy.Host, project: "web-shop"}}
	play := func() (played []int) {
		for i, rec := range m.provider.Recordings {
			if u, err := url.Parse(rec.URL); err != nil || !served[u.Host] {
				continue
			}
			played = append(played, i)
			got, err := m.play(client, i)
			if err != nil {
				t.Fatalf("recording %d (%s): %v\n%s", i, rec.Source, err, m.logs())
			}
			if !bytes.Equal(got, rec.Body()) {
				t.Errorf("recording %d (%s): the client read %d bytes, recorded are %d", i, rec.Source, len(got), len(rec.ResponseBody))
			}
		}
		return played
	}
	played := play()
	rows := m.export()
	if len(rows) != len(played) || len(played) == 0 {
		t.Fatalf("%d rows for %d calls", len(rows), len(played))
	}
	for n, row := range rows {
		if diff := m.calls[played[n]].diff(row); diff != "" {
			t.Errorf("recording %d: %s", played[n], diff)
		}
		if row.Project != "web-shop" || row.ProjectSource != "proxy_url" {
			t.Errorf("row %d: project %s by %s", n, row.Project, row.ProjectSource)
		}
	}
	m.must(0, "stop")
	play()
	if again := m.export(); len(again) != len(rows) {
		t.Errorf("%d rows after calls without a daemon, %d before", len(again), len(rows))
	}
	if asked := len(m.provider.Seen()); asked != 2*len(played) {
		t.Errorf("the provider was asked %d times for %d calls", asked, 2*len(played))
	}
}
