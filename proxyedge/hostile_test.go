package proxyedge

import "strings"

// hostile is a request that a careless server may misread.
type hostile struct {
	// rfc is the section of RFC 9112 that asks for the behaviour or leaves
	// the choice; of the choices, the table has the one that cannot be read in
	// two ways. "9110:" means RFC 9110, "3986:" RFC 3986, "ours" nobody's.
	rfc           string
	name, request string
	status        int
	want          string // what the site gets: request line, host, body; "" nothing
}

// get is a request with a line of its own, fields one with fields of its own,
// and post one whose framing is its own.
func get(line string) string      { return line + "\r\nHost: a\r\n\r\n" }
func fields(fields string) string { return "GET /site/a HTTP/1.1\r\n" + fields + "\r\n\r\n" }
func post(framing, body string) string {
	return "POST /site/a HTTP/1.1\r\nHost: a\r\n" + framing + "\r\n\r\n" + body
}

const (
	asGET  = "GET /a example.com "
	asPOST = "POST /a example.com "
)

var hostileRequests = []hostile{
	// The request line.
	{"3", "plain", get("GET /site/a HTTP/1.1"), 200, asGET},
	{"2.2", "an empty line before", get("\r\nGET /site/a HTTP/1.1"), 200, asGET},
	{"2.2", "two empty lines before", get("\r\n\r\nGET /site/a HTTP/1.1"), 400, ""},
	{"2.2", "a bare LF before", get("\nGET /site/a HTTP/1.1"), 400, ""},
	{"2.2", "a space before", get(" GET /site/a HTTP/1.1"), 400, ""},
	{"9110:9.1", "unknown method", get("BREW /site/a HTTP/1.1"), 200, "BREW /a example.com "},
	{"9110:9.1", "methods have a case", get("get /site/a HTTP/1.1"), 200, "get /a example.com "},
	{"ours", "our own method", get("REFUSED /site/a HTTP/1.1"), 400, ""},
	{"3.1", "no method", get(" /site/a HTTP/1.1"), 400, ""},
	{"3.1", "method with a colon", get("GET: /site/a HTTP/1.1"), 400, ""},
	{"3.1", "method with a slash", get("GET/x /site/a HTTP/1.1"), 400, ""},
	{"3", "two spaces", get("GET  /site/a HTTP/1.1"), 400, ""},
	{"3", "tab for a space", get("GET\t/site/a HTTP/1.1"), 400, ""},
	{"3", "vertical tab for a space", get("GET\v/site/a\vHTTP/1.1"), 400, ""},
	{"3", "space in the target", get("GET /site/a b HTTP/1.1"), 400, ""},
	{"3", "a request in the target", get("GET /site/a HTTP/1.1 GET /b HTTP/1.1"), 400, ""},
	{"3", "trailing space", get("GET /site/a HTTP/1.1 "), 400, ""},
	{"3", "no target", get("GET HTTP/1.1"), 400, ""},
	{"3", "only spaces", get("   "), 400, ""},
	{"2.3", "HTTP/0.9", "GET /site/a\r\n\r\n", 400, ""},
	{"2.3", "HTTP/0.9 with fields", get("GET /site/a"), 400, ""},
	{"2.3", "HTTP/1.2", get("GET /site/a HTTP/1.2"), 400, ""},
	{"2.3", "HTTP/1.10", get("GET /site/a HTTP/1.10"), 400, ""},
	{"2.3", "HTTP/01.1", get("GET /site/a HTTP/01.1"), 400, ""},
	{"2.3", "HTTP/2.0", get("GET /site/a HTTP/2.0"), 400, ""},
	{"2.3", "HTTP/1,1", get("GET /site/a HTTP/1,1"), 400, ""},
	{"2.3", "no version number", get("GET /site/a HTTP/"), 400, ""},
	{"2.3", "lower case version", get("GET /site/a http/1.1"), 400, ""},
	{"2.3", "another protocol", get("GET /site/a ICY/1.1"), 400, ""},
	{"9110:7.8", "HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, ""},
	{"2.2", "bare LF", "GET /site/a HTTP/1.1\nHost: a\r\n\r\n", 400, ""},
	{"2.2", "bare CR", "GET /site/a HTTP/1.1\rX: y\r\nHost: a\r\n\r\n", 400, ""},
	{"2.2", "two CRs", "GET /site/a HTTP/1.1\r\r\nHost: a\r\n\r\n", 400, ""},
	{"2.2", "LF CR", "GET /site/a HTTP/1.1\n\rHost: a\r\n\r\n", 400, ""},
	{"3.2", "NUL", get("GET /site/a\x00 HTTP/1.1"), 400, ""},
	{"3.2", "DEL", get("GET /site/a\x7f HTTP/1.1"), 400, ""},
	{"3.2", "raw UTF-8", get("GET /site/\xc3\xa9 HTTP/1.1"), 400, ""},
	{"3.2", "fragment", get("GET /site/a#b HTTP/1.1"), 400, ""},
	{"3.2", "malformed escape", get("GET /site/%zz HTTP/1.1"), 400, ""},
	{"3.2.1", "no slash", get("GET site/a HTTP/1.1"), 400, ""},
	{"3.2.1", "backslash for a slash", get("GET \\site\\a HTTP/1.1"), 400, ""},
	{"3.2.1", "only a query", get("GET ?a HTTP/1.1"), 400, ""},
	{"3.2.4", "asterisk", get("GET * HTTP/1.1"), 400, ""},
	{"3.2.4", "asterisk and more", get("OPTIONS *x HTTP/1.1"), 400, ""},
	{"3.2.3", "authority form", get("GET example.com:443 HTTP/1.1"), 400, ""},
	{"3.2.3", "CONNECT in origin form", get("CONNECT /site/a HTTP/1.1"), 400, ""},
	{"3.2.3", "CONNECT in absolute form", get("CONNECT http://example.com/ HTTP/1.1"), 400, ""},
	{"9110:9.3.6", "CONNECT with a body", "CONNECT example.com:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 400, ""},
	{"3986:6.2.2.3", "dots are the site's matter", get("GET /site/../a HTTP/1.1"), 200, "GET /../a example.com "},
	{"3986:6.2.2.3", "dots do not reach a route", get("GET /x/../site/a HTTP/1.1"), 404, ""},
	{"3986:6.2.2.2", "nor do escapes", get("GET /%73ite/a HTTP/1.1"), 404, ""},
	{"3.2.1", "an escaped line break", get("GET /site/a%0d%0aX:%20y HTTP/1.1"), 200, "GET /a%0d%0aX:%20y example.com "},
	{"3.2.1", "two slashes", get("GET //site/a HTTP/1.1"), 404, ""},

	// The absolute form.
	{"3.2.2", "Host is ignored", "GET http://example.com/a HTTP/1.1\r\nHost: evil.example\r\n\r\n", 200, asGET},
	{"3.2.2", "no Host", "GET http://example.com/a HTTP/1.1\r\n\r\n", 400, ""},
	{"3.2.2", "no Host in HTTP/1.0", "GET http://example.com/a HTTP/1.0\r\n\r\n", 200, asGET},
	{"3.2.2", "no path", get("GET http://example.com HTTP/1.1"), 200, "GET / example.com "},
	{"3.2.2", "only a query", get("GET http://example.com?a HTTP/1.1"), 200, "GET /?a example.com "},
	{"3986:6.2.2.1", "upper case", get("GET HTTP://EXAMPLE.com/a HTTP/1.1"), 200, "GET /a EXAMPLE.com "},
	{"9110:4.2.4", "user", get("GET http://example.com@evil.example/a HTTP/1.1"), 400, ""},
	{"3986:2", "backslash", get("GET http://example.com\\@evil.example/a HTTP/1.1"), 400, ""},
	{"3986:3.2.2", "escaped host", get("GET http://example%2ecom/a HTTP/1.1"), 400, ""},
	{"3986:3.2.2", "host and a comma", get("GET http://example.com,evil.example/a HTTP/1.1"), 400, ""},
	{"9110:4.2.1", "no host", get("GET http:///a HTTP/1.1"), 400, ""},
	{"9110:4.2.1", "one slash", get("GET http:/example.com/a HTTP/1.1"), 400, ""},
	{"3986:3.2.3", "empty port", get("GET http://example.com:/a HTTP/1.1"), 400, ""},
	{"3986:3.2.3", "port 0", get("GET http://example.com:0/a HTTP/1.1"), 400, ""},
	{"3986:3.2.3", "port out of range", get("GET http://example.com:65536/a HTTP/1.1"), 400, ""},
	{"3986:3.2.3", "port with a sign", get("GET http://example.com:+80/a HTTP/1.1"), 400, ""},
	{"3986:3.2.3", "port with zeros", get("GET http://example.com:0080/a HTTP/1.1"), 200, "GET /a example.com:0080 "},
	{"3986:3.2.3", "port with many zeros", get("GET http://example.com:0000080/a HTTP/1.1"), 400, ""},
	{"3986:3.2.2", "IPv6 without brackets", get("GET http://::1/a HTTP/1.1"), 400, ""},
	{"3986:3.2.2", "IPv6 with one bracket", get("GET http://[2001:db8::1/a HTTP/1.1"), 400, ""},
	{"3986:3.2.2", "IPv6 and more", get("GET http://[2001:db8::1]x/a HTTP/1.1"), 400, ""},
	{"3986:3.2.2", "IPv6 with a zone", get("GET http://[fe80::1%25lo]/a HTTP/1.1"), 400, ""},
	{"3986:3.2.2", "IPvFuture", get("GET http://[v1.x]/a HTTP/1.1"), 400, ""},
	{"3986:3.2.2", "IPv4 in brackets", get("GET http://[192.0.2.1]/a HTTP/1.1"), 400, ""},
	{"3986:7.4", "IPv4 in two parts", get("GET http://127.1/a HTTP/1.1"), 400, ""},
	{"3986:7.4", "IPv4 as a number", get("GET http://2130706433/a HTTP/1.1"), 400, ""},
	{"3986:7.4", "IPv4 in octal and hexadecimal", get("GET http://0177.0.0.0x1/a HTTP/1.1"), 400, ""},
	{"9110:4.2", "a scheme of its own", get("GET ftp://example.com/a HTTP/1.1"), 400, ""},
	{"3.2.2", "a request in the authority", get("GET http://example.com\r\nHost: b/a HTTP/1.1"), 400, ""},

	// Host.
	{"3.2", "no Host", "GET /site/a HTTP/1.1\r\n\r\n", 400, ""},
	{"3.2", "no Host in HTTP/1.0", "GET /site/a HTTP/1.0\r\n\r\n", 200, asGET},
	{"3.2", "two Hosts", fields("Host: a\r\nHost: a"), 400, ""},
	{"3.2", "two Hosts in two cases", fields("Host: a\r\nhOsT: b"), 400, ""},
	{"3.2", "Host with a user", fields("Host: a@b"), 400, ""},
	{"3.2", "Host with a path", fields("Host: a/b"), 400, ""},
	{"3.2", "Host with a scheme", fields("Host: http://a"), 400, ""},
	{"3.2", "Host with a space", fields("Host: a b"), 400, ""},
	{"3.2", "list of Hosts", fields("Host: a, b"), 400, ""},
	{"9110:7.2", "IPv6 Host", fields("Host: [::1]:8081"), 200, asGET},
	{"9110:7.2", "empty Host", fields("Host:"), 200, asGET},
	{"9110:7.6.1", "Connection names Host", fields("Host: a\r\nConnection: host"), 200, asGET},

	// Fields.
	{"5.2", "folded field", fields("Host: a\r\nX: a\r\n b"), 400, ""},
	{"5.2", "field folded with a tab", fields("Host: a\r\nX: a\r\n\tb"), 400, ""},
	{"5.2", "folded Host", fields("Host:\r\n a"), 400, ""},
	{"2.2", "folded first field", fields(" X: a\r\nHost: a"), 400, ""},
	{"5.1", "space before the colon", fields("Host : a"), 400, ""},
	{"5.1", "tab before the colon", fields("Host: a\r\nX\t: a"), 400, ""},
	{"5.1", "no colon", fields("Host: a\r\nX"), 400, ""},
	{"5.1", "no name", fields("Host: a\r\n: x"), 400, ""},
	{"5.1", "quoted name", fields("Host: a\r\n\"X\": x"), 400, ""},
	{"9110:5.5", "control character", fields("Host: a\r\nX: a\x01"), 400, ""},
	{"9110:5.5", "NUL in a value", fields("Host: a\r\nX: a\x00b"), 400, ""},
	{"9110:5.5", "NUL in a name", fields("Host: a\r\nX\x00: b"), 400, ""},
	{"9110:5.5", "bare CR in a value", fields("Host: a\r\nX: a\rY: b"), 400, ""},
	{"9110:5.5", "bare LF in a value", fields("Host: a\r\nX: a\nY: b"), 400, ""},
	{"9110:5.5", "obsolete text", fields("Host: a\r\nX: \xe9"), 200, asGET},
	{"9110:5.4", "too large", fields("Host: a\r\nX: " + strings.Repeat("x", 64<<10)), 431, ""},
	{"9110:5.4", "too many", fields("Host: a" + strings.Repeat("\r\nX: y", 11<<10)), 431, ""},
	{"3", "a target that is too long", get("GET /site/" + strings.Repeat("a", 64<<10) + " HTTP/1.1"), 431, ""},
	{"ours", "passed an edge before", fields("Host: a\r\nHalton-Nonce: 0"), 508, ""},
	{"9110:10.1.1", "unknown expectation", post("Content-Length: 1\r\nExpect: 200-ok", "x"), 417, ""},
	{"9110:10.1.1", "expectation in another case", post("Content-Length: 1\r\nExpect: 100-Continue", "x"), 200, asPOST + "x"},
	{"9110:10.1.1", "expectation without a body", fields("Host: a\r\nExpect: 100-continue"), 200, asGET},
	{"9110:10.1.1", "expectation in HTTP/1.0", "POST /site/a HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nx", 200, asPOST + "x"},
	{"9110:7.8", "upgrade to h2c", fields("Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"), 200, asGET},
	{"9110:7.8", "upgrade to TLS", fields("Host: a\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2"), 200, asGET},
}
