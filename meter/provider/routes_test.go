package provider

import (
	"strings"
	"testing"
)

// A base URL that covers another one, or claims /p/, would take its requests.
func TestBaseURLs(t *testing.T) {
	for i, u := range BaseURLs() {
		if !strings.HasPrefix(u.Prefix, "/") || strings.Count(u.Prefix, "/") != 1 || u.Prefix == "/p" || u.Host != canonicalHost(u.Host) {
			t.Errorf("%+v", u)
		}
		for _, other := range BaseURLs()[:i] {
			if other.Prefix == u.Prefix {
				t.Errorf("%s twice", u.Prefix)
			}
		}
	}
	if urls := BaseURLs(); len(urls) < 3 || !IsMetered(urls[0].Host, 443) || !IsMetered(urls[1].Host, 443) {
		t.Errorf("%+v", urls)
	}
}
