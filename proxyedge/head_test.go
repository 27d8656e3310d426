package proxyedge

import (
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseRequest(t *testing.T) {
	tests := []struct {
		name, head string
		ok         bool
	}{
		{"plain", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", true},
		{"HTTP/1.0 without Host", "CONNECT a:443 HTTP/1.0\r\n\r\n", true},
		// RFC 9112 section 3.2 wants a Host, but the target says it all, and
		// minimal clients leave it out.
		{"HTTP/1.1 without Host", "CONNECT a:443 HTTP/1.1\r\n\r\n", true},
		{"leading empty line", "\r\nCONNECT a:443 HTTP/1.1\r\n\r\n", true},
		{"no space after colon", "CONNECT a:443 HTTP/1.1\r\nHost:a\r\n\r\n", true},
		{"tab in value", "CONNECT a:443 HTTP/1.1\r\nX: a\tb\r\n\r\n", true},
		{"obs-text in value", "CONNECT a:443 HTTP/1.1\r\nX: \xe9\r\n\r\n", true},
		{"empty value", "CONNECT a:443 HTTP/1.1\r\nX:\r\n\r\n", true},
		{"CONNECT with an empty body", "CONNECT a:443 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", true},
		{"POST with length", "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", true},
		{"POST chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", true},

		{"two empty lines first", "\r\n\r\nCONNECT a:443 HTTP/1.1\r\n\r\n", false},
		{"bare LF line end", "CONNECT a:443 HTTP/1.1\nHost: a\r\n\r\n", false},
		{"bare LF in value", "CONNECT a:443 HTTP/1.1\r\nX: a\nY: b\r\n\r\n", false},
		{"bare CR in value", "CONNECT a:443 HTTP/1.1\r\nX: a\rY: b\r\n\r\n", false},
		{"NUL in value", "CONNECT a:443 HTTP/1.1\r\nX: a\x00\r\n\r\n", false},
		{"control in value", "CONNECT a:443 HTTP/1.1\r\nX: a\x01\r\n\r\n", false},
		{"two spaces", "CONNECT  a:443 HTTP/1.1\r\n\r\n", false},
		{"tab for space", "CONNECT\ta:443 HTTP/1.1\r\n\r\n", false},
		{"trailing space", "CONNECT a:443 HTTP/1.1 \r\n\r\n", false},
		{"leading space", " CONNECT a:443 HTTP/1.1\r\n\r\n", false},
		{"no version", "CONNECT a:443\r\n\r\n", false},
		{"HTTP/0.9", "CONNECT a:443 HTTP/0.9\r\n\r\n", false},
		{"HTTP/2.0", "PRI * HTTP/2.0\r\n\r\n", false},
		{"HTTP/1.2", "CONNECT a:443 HTTP/1.2\r\n\r\n", false},
		{"lower-case version", "CONNECT a:443 http/1.1\r\n\r\n", false},
		{"method not a token", "CON(NECT a:443 HTTP/1.1\r\n\r\n", false},
		{"control in target", "CONNECT a\x01:443 HTTP/1.1\r\n\r\n", false},
		{"non-ASCII target", "CONNECT \xc3\xa4:443 HTTP/1.1\r\n\r\n", false},
		{"folded field", "CONNECT a:443 HTTP/1.1\r\nX: a\r\n b\r\n\r\n", false},
		{"folded first field", "CONNECT a:443 HTTP/1.1\r\n X: a\r\n\r\n", false},
		{"space before colon", "CONNECT a:443 HTTP/1.1\r\nHost : a\r\n\r\n", false},
		{"no colon", "CONNECT a:443 HTTP/1.1\r\nHost\r\n\r\n", false},
		{"empty name", "CONNECT a:443 HTTP/1.1\r\n: a\r\n\r\n", false},
		{"two Hosts", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", false},
		{"CONNECT with a body", "CONNECT a:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n", false},
		{"CONNECT chunked", "CONNECT a:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false},
		{"two lengths", "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", false},
		{"list of lengths", "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n", false},
		{"signed length", "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", false},
		{"hex length", "POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n", false},
		{"length and chunked", "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", false},
		{"other coding", "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", false},
		{"list of codings", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", false},
		{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", false},
		{"not ended", "CONNECT a:443 HTTP/1.1\r\n", false},
		{"nothing", "\r\n\r\n", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h, err := parseRequest([]byte(test.head))
			if (err == nil) != test.ok {
				t.Errorf("got %+v and %v, want ok=%t", h, err, test.ok)
			}
		})
	}
}

func TestParseAuthority(t *testing.T) {
	tests := []struct {
		in, host string
		port     int // 0: refused
	}{
		{"api.example.com:443", "api.example.com", 443},
		{"API.Example.COM:443", "api.example.com", 443},
		{"api.example.com.:443", "api.example.com", 443},
		{"my_host:1", "my_host", 1},
		{"127.0.0.1:65535", "127.0.0.1", 65535},
		{"[::1]:443", "::1", 443},
		{"[2001:DB8:0:0::1]:443", "2001:db8::1", 443},
		{"[::ffff:127.0.0.1]:443", "::ffff:127.0.0.1", 443},
		{"a:00443", "a", 443},

		{"", "", 0},
		{":443", "", 0},
		{".:443", "", 0},
		{"a..b:443", "", 0},
		{".a:443", "", 0},
		{"a", "", 0},
		{"a:", "", 0},
		{"a:0", "", 0},
		{"a:65536", "", 0},
		{"a:+443", "", 0},
		{"a:-1", "", 0},
		{"a:000443", "", 0},
		{"a:https", "", 0},
		{"a:443:443", "", 0},
		{"::1:443", "", 0},
		{"[::1]", "", 0},
		{"[::1]443", "", 0},
		{"[::1:443", "", 0},
		{"[a]:443", "", 0},
		{"[127.0.0.1]:443", "", 0},
		{"[fe80::1%25lo0]:443", "", 0},
		{"[fe80::1%lo0]:443", "", 0},
		{"user@a:443", "", 0},
		{"http://a:443", "", 0},
		{"a/b:443", "", 0},
		{"a%2eb:443", "", 0},
		{"a\\b:443", "", 0},
		{"*:443", "", 0},
		{"127.1:443", "", 0},
		{"127.0.0.01:443", "", 0},
		{"0x7f.0.0.1:443", "", 0},
		{"127.0.0.0x1:443", "", 0},
		{"127.0.0.0x:443", "", 0},
		{"0x7f000001:443", "", 0},
		{"2130706433:443", "", 0},
		{"017700000001.:443", "", 0},
		{"1.2.3.4.5:443", "", 0},
		{"a.256:443", "", 0},
		{"4chan.0xg:443", "4chan.0xg", 443},
		{"1.a:443", "1.a", 443},
		{strings.Repeat("a", 254) + ":443", "", 0},
	}
	for _, test := range tests {
		host, port, err := parseAuthority(test.in)
		if (err == nil) != (test.port != 0) || err == nil && (host != test.host || port != test.port) {
			t.Errorf("parseAuthority(%q) = %q, %d, %v, want %q, %d", test.in, host, port, err, test.host, test.port)
		}
	}
}

func TestReadHead(t *testing.T) {
	const head, rest = "CONNECT a:443 HTTP/1.1\r\nX: 1\r\n\r\n", "\x16\r\n\r\n"
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "half": iotest.HalfReader, "data with error": iotest.DataErrReader,
	} {
		r := wrap(strings.NewReader(head + rest))
		got, behind, err := readHead(r, 1<<10)
		tail, _ := io.ReadAll(r)
		if err != nil || string(got) != head || string(behind)+string(tail) != rest {
			t.Errorf("%s: %q, %q and %v, want the head and the rest", name, got, behind, err)
		}
	}
	got, behind, err := readHead(iotest.OneByteReader(strings.NewReader(head+rest)), 1<<10)
	if err != nil || string(got) != head || len(behind) > 0 {
		t.Errorf("byte by byte: %q, %q and %v", got, behind, err)
	}

	for _, test := range []struct {
		in   string
		want error
	}{
		{"", io.EOF},
		{"CONNECT a", errHeadCut},
		{strings.Repeat("x", 100), errHeadTooLarge},
		{strings.Repeat("x", 96) + "\r\n\r\n", nil},
		{strings.Repeat("x", 97) + "\r\n\r\n", errHeadTooLarge},
	} {
		if _, _, err := readHead(strings.NewReader(test.in), 100); !errors.Is(err, test.want) {
			t.Errorf("%d bytes: %v, want %v", len(test.in), err, test.want)
		}
	}
}

func TestProxyUser(t *testing.T) {
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for in, want := range map[string]string{
		basic("web:secret"):                  "web",
		basic("web"):                         "web",
		basic("team:web:x"):                  "team:web",
		basic("my%20project:"):               "my project",
		basic("50%off:"):                     "50%off",
		basic("ä:"):                          "ä",
		basic(":secret"):                     "",
		basic("a\nb:"):                       "",
		basic("a%0ab:"):                      "",
		basic("\xff:"):                       "",
		basic(strings.Repeat("a", 257)):      "",
		"basic " + basic("web:")[6:]:         "web",
		"Bearer " + basic("web:")[6:]:        "",
		"Basic !":                            "",
		"Basic":                              "",
		"":                                   "",
		basic("a") + ", " + basic("b"):       "",
		"Basic  " + basic("two-spaces:")[6:]: "two-spaces",
	} {
		h := &head{fields: []field{{"proxy-authorization", in}}}
		if got := proxyUser(h); got != want {
			t.Errorf("%q: user %q, want %q", in, got, want)
		}
	}
	if got := proxyUser(&head{fields: []field{{"Proxy-Authorization", basic("a:")}, {"Proxy-Authorization", basic("b:")}}}); got != "" {
		t.Errorf("two users: %q, want none", got)
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{
		connectHead,
		"\r\nCONNECT [::1]:443 HTTP/1.0\r\nHost: a\r\nProxy-Authorization: Basic d2ViOg==\r\n\r\n",
		"POST http://a/ HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := parseRequest(raw)
		if err != nil {
			return
		}
		// What is accepted means the same when it is written out again.
		var text strings.Builder
		text.WriteString(h.method + " " + h.target + " " + h.version + "\r\n")
		for _, f := range h.fields {
			text.WriteString(f.name + ": " + f.value + "\r\n")
		}
		again, err := parseRequest([]byte(text.String() + "\r\n"))
		if err != nil {
			t.Fatalf("%q was accepted, %q is not: %v", raw, text.String(), err)
		}
		if again.method != h.method || again.target != h.target || len(again.fields) != len(h.fields) {
			t.Fatalf("%q reads as %+v, then as %+v", raw, h, again)
		}
		for i, f := range h.fields {
			if again.fields[i] != f || strings.ContainsAny(f.name+f.value, "\r\n\x00") {
				t.Fatalf("%q reads as %+v, then as %+v", raw, h, again)
			}
		}
		if user := proxyUser(h); strings.ContainsAny(user, "\r\n\x00") {
			t.Fatalf("%q has the user %q", raw, user)
		}
	})
}

func FuzzParseAuthority(f *testing.F) {
	for _, s := range []string{"a:443", "[::1]:443", "API.example.com.:1", "[::ffff:1.2.3.4]:65535", "::1:443", "a:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, err := parseAuthority(s)
		if err != nil {
			return
		}
		if port < 1 || port > 65535 || host == "" || strings.ContainsAny(host, "[]/@%\r\n\x00 ") || strings.ToLower(host) != host {
			t.Fatalf("%q reads as %q, %d", s, host, port)
		}
		h, p, err := parseAuthority(joinAuthority(host, port))
		if err != nil || h != host || p != port {
			t.Fatalf("%q reads as %q, %d, then as %q, %d, %v", s, host, port, h, p, err)
		}
	})
}

func FuzzParseResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 Connection Established\r\nHalton-Proof: 00\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 407\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if status, _, err := parseResponse(raw); err == nil && (status < 100 || status > 999) {
			t.Fatalf("%q has status %d", raw, status)
		}
	})
}
