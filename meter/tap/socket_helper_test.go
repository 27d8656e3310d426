package tap_test

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

// line is a message of a conversation: who says it, and what.
type line struct {
	client bool
	text   string
}

func client(text string) line  { return line{true, text} }
func service(text string) line { return line{false, text} }

const (
	create = `{"type":"response.create","model":"gpt-5","input":"hi"}`
	delta  = `{"type":"response.output_text.delta","delta":"hello"}`
)

func created(id string) line {
	return service(`{"type":"response.created","response":{"id":"` + id + `","status":"in_progress"}}`)
}

func completed(id string) line {
	return service(`{"type":"response.completed","response":{"id":"` + id + `","status":"completed","usage":{"input_tokens":8,"output_tokens":3}}}`)
}

// frameBytes is one frame; key masks it if it is not nil.
func frameBytes(first byte, key, payload []byte) []byte {
	b := []byte{first, 0}
	switch n := len(payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if key == nil {
		return append(b, payload...)
	}
	b[1] |= 0x80
	b = append(b, key...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// packer compresses the messages of one direction as RFC 7692 says.
type packer struct {
	takeover bool
	out      bytes.Buffer
	w        *flate.Writer
}

func (p *packer) pack(text string) []byte {
	if p.w == nil || !p.takeover {
		p.w, _ = flate.NewWriter(&p.out, flate.BestCompression)
	}
	p.out.Reset()
	io.WriteString(p.w, text)
	p.w.Flush()
	return bytes.Clone(bytes.TrimSuffix(p.out.Bytes(), []byte("\x00\x00\xff\xff")))
}

// fakeWire is the connection to a provider: Read gives what the test puts
// into it, and Write keeps what it gets.
type fakeWire struct {
	said    []byte // by the provider, not read yet
	sizes   []int  // of reads, in turns
	turn    int
	end     error
	heard   bytes.Buffer
	onWrite func()
	closed  bool
}

func (w *fakeWire) Read(p []byte) (int, error) {
	if len(w.said) == 0 || w.closed {
		if w.closed {
			return 0, io.ErrClosedPipe
		}
		return 0, w.end
	}
	n := len(p)
	if len(w.sizes) > 0 {
		n = min(n, w.sizes[w.turn%len(w.sizes)])
		w.turn++
	}
	n = copy(p[:n], w.said)
	w.said = w.said[n:]
	return n, nil
}

func (w *fakeWire) Write(p []byte) (int, error) {
	if w.onWrite != nil {
		w.onWrite()
	}
	return w.heard.Write(p)
}

func (w *fakeWire) Close() error { w.closed = true; return nil }

// socketRig is a WebSocket through a tap.
type socketRig struct {
	tap    *tap.Tap
	wire   *fakeWire
	socket *tap.Socket
	read   bytes.Buffer // what the client got

	mu      sync.Mutex
	begun   []string
	records []tap.Record
	voided  []string
}

var responses = provider.Endpoint{Provider: "openai", Format: provider.FormatOpenAIResponses, Kind: provider.KindChat, Socket: true, Stream: true}

// bounds are those of a Tap.
type bounds struct {
	queue, body int
	total       int64
}

func newSocketRig(endpoint provider.Endpoint, extensions string, b bounds) *socketRig {
	r := &socketRig{wire: &fakeWire{end: io.EOF}}
	r.tap = &tap.Tap{
		MaxQueue: b.queue, MaxTotal: b.total, MaxBody: b.body,
		Done: func(rec tap.Record) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.records = append(r.records, rec)
		},
		Void: func(x tap.Exchange) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.voided = append(r.voided, x.ID)
		},
	}
	h := http.Header{}
	if extensions != "" {
		h.Set("Sec-WebSocket-Extensions", extensions)
	}
	begin := func() tap.Exchange {
		r.mu.Lock()
		defer r.mu.Unlock()
		id := fmt.Sprint("x", len(r.begun)+1)
		r.begun = append(r.begun, id)
		return tap.Exchange{ID: id, Endpoint: endpoint}
	}
	upgrade := begin()
	r.socket = r.tap.Start(upgrade).Upgrade(h, r.wire, begin)
	return r
}

// say passes bytes of the client, in pieces.
func (r *socketRig) say(b []byte, sizes ...int) {
	for i := 0; len(b) > 0; i++ {
		n := len(b)
		if len(sizes) > 0 {
			n = min(n, sizes[i%len(sizes)])
		}
		r.socket.Write(b[:n])
		b = b[n:]
	}
}

// hear passes bytes of the provider.
func (r *socketRig) hear(b []byte, sizes ...int) {
	r.wire.said, r.wire.sizes = b, sizes
	p := make([]byte, 32<<10)
	for len(r.wire.said) > 0 {
		n, _ := r.socket.Read(p)
		r.read.Write(p[:n])
	}
}

// pass says and hears the lines in plain frames.
func (r *socketRig) pass(lines ...line) {
	for _, l := range lines {
		if l.client {
			r.say(frameBytes(0x81, []byte("key!"), []byte(l.text)))
		} else {
			r.hear(frameBytes(0x81, nil, []byte(l.text)))
		}
	}
}

// finish ends the socket and returns a line for each record.
func (r *socketRig) finish(t interface{ Fatal(...any) }) []string {
	r.socket.End(tap.Completed, nil)
	if err := r.tap.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if used := r.tap.Used(); used != 0 {
		t.Fatal(used, "bytes are still reserved")
	}
	return r.lines()
}

func (r *socketRig) lines() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.records {
		s := strings.TrimSpace(fmt.Sprint(rec.ID, " ", rec.ResponseID, " ", rec.Outcome, " ", rec.HTTPStatus))
		if rec.Usage != nil {
			s += fmt.Sprintf(" %d+%d", rec.Usage.Input, rec.Usage.Output)
		}
		if !rec.Complete {
			s += ": " + rec.Reason
		}
		out = append(out, s)
	}
	return out
}

// accounted checks that each exchange that was begun came to one end.
func (r *socketRig) accounted(t interface{ Errorf(string, ...any) }) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ends := map[string]int{}
	for _, rec := range r.records {
		ends[rec.ID]++
	}
	for _, id := range r.voided {
		ends[id]++
	}
	for _, id := range r.begun {
		if ends[id] != 1 {
			t.Errorf("exchange %s of %v ended %d times", id, r.begun, ends[id])
		}
	}
	if len(ends) != len(r.begun) {
		t.Errorf("begun %v, ended %v", r.begun, ends)
	}
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
