package tap

import (
	"net/http"

	"github.com/haltonlabs/halton-meter/meter/provider"
)

// Used is how much of MaxTotal is reserved.
func (t *Tap) Used() int64 { return t.used.Load() }

// Running reports whether the flow has a goroutine.
func (f *Flow) Running() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running
}

// MaxEvent is the bound of one event of a stream.
const MaxEvent = maxEvent

// Keep is what is kept of a text that comes in pieces of the given size, with
// the given length for strings.
func Keep(text string, size, long int) (string, error) {
	d := &document{buffer: buffer{tap: &Tap{}, max: len(text)}, long: long}
	defer d.free()
	for len(text) > 0 {
		n := min(len(text), max(1, size))
		if err := d.write([]byte(text[:n])); err != nil {
			return string(d.b), err
		}
		text = text[n:]
	}
	return string(d.b), nil
}

// Feed gives a decoded body to the parser in pieces of the given size. In a
// Flow the pieces depend on when its goroutine runs.
func Feed(p provider.Parser, status int, h http.Header, body string, size int, clean bool) {
	f := &Flow{tap: &Tap{}, respHead: head{seen: true, status: status, contentType: h.Get("Content-Type")}}
	out := &sniffer{r: &reading{f: f, parser: p}}
	defer out.free()
	for len(body) > 0 {
		n := min(len(body), max(1, size))
		_ = out.write([]byte(body[:n]))
		body = body[n:]
	}
	out.close(clean)
}
