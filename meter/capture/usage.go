package capture

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"

	"github.com/haltonlabs/halton-meter/meter/provider"
)

const (
	// maxAsking bounds the requests that are changed to ask for their usage: a
	// larger one is sent as it is.
	maxAsking = 8 << 20
	// maxEvent bounds the events that are looked at for what was not asked for;
	// OpenAI's chunks have some hundred bytes.
	maxEvent = 1 << 20
)

// askForUsage changes the request for a stream, if it can, so that the stream
// names its usage, and returns the body to send. From then on x.asked is set,
// and answered takes out of the response what the client did not ask for.
//
// Only here does this package change what is sent, and only with IncludeUsage.
// A request is left alone that is compressed, or whose bytes something else in
// its head vouches for.
func (x *exchange) askForUsage(r *httputil.ProxyRequest, body io.ReadCloser) io.ReadCloser {
	h := r.Out.Header
	if !x.i.IncludeUsage || x.flow == nil || !x.about.Endpoint.HidesUsage() || body == nil || r.In.ContentLength > maxAsking {
		return body
	}
	for _, name := range []string{"Content-Encoding", "Content-Digest", "Digest", "Content-Md5", "Signature", "Expect", "Trailer"} {
		if h.Get(name) != "" {
			return body
		}
	}
	data, err := io.ReadAll(io.LimitReader(body, maxAsking+1))
	read := &replayed{Reader: bytes.NewReader(data), Closer: body}
	if err != nil {
		read.Reader = io.MultiReader(read.Reader, failing{err})
		return read
	}
	asking, ok := provider.IncludeUsage(data)
	if !ok || len(data) > maxAsking {
		read.Reader = io.MultiReader(read.Reader, body)
		return read
	}
	read.Reader = bytes.NewReader(asking)
	if r.Out.ContentLength >= 0 {
		r.Out.ContentLength = int64(len(asking))
	}
	// In a compressed stream nothing could be taken out.
	h.Set("Accept-Encoding", "identity")
	x.asked = true
	return read
}

// replayed is a body that was read already.
type replayed struct {
	io.Reader
	io.Closer
}

// failing is the end of a body that broke off.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// hideUsage takes out of the response what askForUsage brought into it. The
// tap has read it by then.
func (x *exchange) hideUsage(res *http.Response) {
	mediaType, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if !x.asked || !strings.EqualFold(strings.TrimSpace(mediaType), "text/event-stream") || res.Header.Get("Content-Encoding") != "" {
		return
	}
	res.Body = &usageFilter{src: res.Body}
	res.ContentLength = -1
	res.Header.Del("Content-Length")
}

// usageFilter is a stream of events (https://html.spec.whatwg.org/multipage/server-sent-events.html)
// without what IncludeUsage adds. It hands out each event when it is whole,
// and all bytes of the other ones as they are.
type usageFilter struct {
	src  io.ReadCloser
	in   []byte // read, no event yet
	out  []byte // to be handed out
	err  error
	open bool // an event was too long to be looked at, and goes on
}

// Read implements io.Reader.
func (f *usageFilter) Read(p []byte) (int, error) {
	for len(f.out) == 0 && f.err == nil {
		n, err := f.src.Read(p)
		f.in = append(f.in, p[:n]...)
		f.err = err
		f.sort()
	}
	n := copy(p, f.out)
	f.out = f.out[n:]
	if n > 0 || len(f.out) > 0 {
		return n, nil
	}
	return 0, f.err
}

// sort moves whole events from in to out; at the end, all that is left.
func (f *usageFilter) sort() {
	f.out = f.out[:0]
	for {
		end := eventEnd(f.in)
		if end == 0 {
			break
		}
		if f.open {
			f.out = append(f.out, f.in[:end]...)
			f.open = false
		} else {
			f.out = append(f.out, withoutUsage(f.in[:end])...)
		}
		f.in = f.in[end:]
	}
	if f.err != nil || f.open || len(f.in) > maxEvent {
		// A line break at the very end may be a half of the event's end.
		keep := 0
		if f.err == nil {
			keep = min(len(f.in), 3)
			f.open = true
		}
		f.out = append(f.out, f.in[:len(f.in)-keep]...)
		f.in = f.in[len(f.in)-keep:]
	}
}

// eventEnd returns the length of the first event with its empty line, 0 if it
// is not whole.
func eventEnd(data []byte) int {
	for i := 0; ; {
		n := bytes.IndexByte(data[i:], '\n')
		if n < 0 {
			return 0
		}
		i += n + 1
		switch {
		case bytes.HasPrefix(data[i:], []byte("\n")):
			return i + 1
		case bytes.HasPrefix(data[i:], []byte("\r\n")):
			return i + 2
		}
	}
}

// withoutUsage is an event without what IncludeUsage adds; it is empty if that
// is all of it. An event of several data lines is none of OpenAI's.
func withoutUsage(event []byte) []byte {
	line := event[:bytes.IndexByte(event, '\n')+1]
	data, ok := bytes.CutPrefix(line, []byte("data:"))
	if !ok || bytes.Contains(event[len(line):], []byte("data:")) {
		return event
	}
	data = bytes.TrimSpace(data)
	rest, keep := provider.WithoutUsage(data)
	switch {
	case !keep:
		return nil
	case len(rest) == len(data):
		return event
	}
	return bytes.Replace(event, data, rest, 1)
}

// Close implements io.Closer.
func (f *usageFilter) Close() error {
	if f.err == nil {
		f.err = errors.New("read of a closed response")
	}
	return f.src.Close()
}
