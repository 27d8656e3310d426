package tap_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSocketHostile: what cannot be read ends the reading, not the relay, and
// a row says so for what was under way and what comes.
func TestSocketHostile(t *testing.T) {
	huge := []byte{0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	const lost = "read the WebSocket: a WebSocket frame is damaged: "
	for _, tt := range []struct {
		name       string
		extensions string
		b          []byte // of the provider
		reason     string
	}{
		{"a reserved bit", "", []byte{0xa1, 0}, lost + "a reserved bit is set"},
		{"an unknown opcode", "", []byte{0x83, 0}, lost + "its opcode is unknown"},
		{"another", "", []byte{0x8b, 0}, lost + "its opcode is unknown"},
		{"a negative length", "", huge, lost + "its length is negative"},
		{"a long ping", "", []byte{0x89, 126, 1, 0}, lost + "it is no control frame"},
		{"a ping in pieces", "", []byte{0x09, 0}, lost + "it is no control frame"},
		{"a continuation of nothing", "", []byte{0x80, 0}, lost + "it does not continue its message"},
		{"a message in a message", "", []byte{0x01, 0, 0x81, 0}, lost + "it does not continue its message"},
		{"compressed without leave", "", []byte{0xc1, 0}, lost + "it is compressed"},
		{"compressed nonsense", "permessage-deflate", frameBytes(0xc1, nil, []byte("nonsense")), "read the WebSocket: flate: corrupt input before offset 1"},
		{"an unknown extension", "bbf-usp-protocol", []byte{0x81, 0}, "read the WebSocket: the WebSocket has an unknown extension"},
		{"an unknown parameter", "permessage-deflate; x", []byte{0x81, 0}, "read the WebSocket: the WebSocket has an unknown extension"},
		{"an impossible window", "permessage-deflate; server_max_window_bits=16", []byte{0x81, 0}, "read the WebSocket: the WebSocket has an unknown extension"},
		{"compressed twice", "permessage-deflate, permessage-deflate", []byte{0x81, 0}, "read the WebSocket: the WebSocket has an unknown extension"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newSocketRig(responses, tt.extensions, bounds{})
			before, after := frameBytes(0x81, nil, []byte(create)), frameBytes(0x81, nil, []byte(create))
			r.say(before)
			noErr(t, r.tap.Flush(context.Background()))
			r.hear(tt.b)
			noErr(t, r.tap.Flush(context.Background()))
			r.say(after)
			r.hear(frameBytes(0x81, nil, []byte(completed("r1").text)))
			noErr(t, r.tap.Flush(context.Background()))
			want := []string{"x2  completed 101: " + tt.reason, "x3  completed 101: " + tt.reason}
			check(t, "before the end", r.lines(), want)
			check(t, "records", r.finish(t), want)
			r.accounted(t)
			if got := r.wire.heard.Bytes(); !bytes.Equal(got, slices.Concat(before, after)) {
				t.Error("the provider got other bytes")
			}
			if got := r.read.Bytes(); !bytes.HasPrefix(got, tt.b) || !bytes.HasSuffix(got, []byte(completed("r1").text)) {
				t.Error("the client got other bytes")
			}
		})
	}
}

// TestSocketHostileClient: what the provider says still tells of each
// response, if the client's frames cannot be read.
func TestSocketHostileClient(t *testing.T) {
	r := newSocketRig(responses, "", bounds{})
	r.say([]byte{0xa1, 0})
	r.pass(client(create), created("r1"), completed("r1"), created("r2"))
	check(t, "records", r.finish(t), []string{"x2 r1 completed 101 8+3", "x3 r2 client_aborted 101: " + brokeOff})
	r.accounted(t)
}

// TestSocketBounds: messages and queues have limits, and what they cost is
// told.
func TestSocketBounds(t *testing.T) {
	long := client(`{"type":"response.create","model":"gpt-5","input":"` + strings.Repeat("x", 5000) + `"}`)
	t.Run("a long request", func(t *testing.T) {
		r := newSocketRig(responses, "", bounds{body: 1000})
		r.pass(long, completed("r1"))
		check(t, "records", r.finish(t), []string{"x2 r1 completed 101 8+3"})
		check(t, "model", r.records[0].Model, "gpt-5")
	})
	t.Run("no room in the queue", func(t *testing.T) {
		r := newSocketRig(responses, "", bounds{queue: 1000})
		r.pass(client(create), created("r1"))
		noErr(t, r.tap.Flush(context.Background()))
		r.hear(frameBytes(0x81, nil, []byte(`{"type":"response.output_text.delta","delta":"`+strings.Repeat("x", 1<<20)+`"}`)))
		r.pass(completed("r1"))
		want := "x2 r1 completed 101: read the WebSocket: the tap's memory is used up"
		if got := r.finish(t); len(got) != 1 || got[0] != want {
			t.Errorf("%q", got)
		}
		if r.records[0].Dropped == 0 {
			t.Error("the record does not say what was dropped")
		}
	})
	t.Run("a bomb", func(t *testing.T) {
		r := newSocketRig(responses, "permessage-deflate", bounds{total: 8 << 20})
		p := &packer{takeover: true}
		r.pass(client(create))
		bomb := p.pack(`{"type":"response.output_text.delta","delta":"` + strings.Repeat("x", 64<<20) + `"}`)
		r.hear(frameBytes(0xc1, nil, bomb), 1000)
		noErr(t, r.tap.Flush(context.Background()))
		check(t, "records", r.finish(t), []string{"x2  completed 101: read the WebSocket: the tap's memory is used up"})
	})
	t.Run("a bomb that is to be read without what was before it", func(t *testing.T) {
		r := newSocketRig(responses, "permessage-deflate; server_no_context_takeover", bounds{total: 8 << 20})
		p := &packer{}
		r.pass(client(create), created("r1"))
		r.hear(frameBytes(0xc1, nil, p.pack(`{"type":"response.output_text.delta","delta":"`+strings.Repeat("x", 64<<20)+`"}`)))
		r.hear(frameBytes(0xc1, nil, p.pack(completed("r1").text)))
		check(t, "records", r.finish(t), []string{"x2 r1 completed 101 8+3"})
	})
}

// TestSocketLastBlock: a sender may end its deflate stream within a message
// (RFC 7692, section 7.2.3.4), and go on in the next.
func TestSocketLastBlock(t *testing.T) {
	hello := []byte{0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00} // the RFC's example
	r := newSocketRig(responses, "permessage-deflate", bounds{})
	p := &packer{takeover: true}
	r.pass(client(create))
	r.hear(frameBytes(0xc1, nil, hello))
	r.hear(frameBytes(0xc1, nil, p.pack(completed("r1").text)))
	check(t, "records", r.finish(t), []string{"x2 r1 completed 101 8+3"})
}

// FuzzSocket: whatever the two ends send, the bytes pass, the tap gives back
// its memory, each exchange comes to one end, and the pieces in which the
// bytes come change nothing.
func FuzzSocket(f *testing.F) {
	ask, answer := frameBytes(0x81, []byte("key!"), []byte(create)), frameBytes(0x81, nil, []byte(completed("r1").text))
	p := &packer{takeover: true}
	packed := slices.Concat(frameBytes(0xc1, nil, p.pack(created("r1").text)), frameBytes(0xc1, nil, p.pack(completed("r1").text)))
	f.Add(ask, answer, "", 7)
	f.Add(append(ask, ask...), packed, "permessage-deflate; client_max_window_bits=9", 1)
	f.Add([]byte{0x01, 0, 0x89, 0, 0x80, 126, 0, 1, 'x'}, []byte{0x88, 2, 3, 0xe8}, "permessage-deflate; server_no_context_takeover", 3)
	f.Add([]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, []byte{0xc1, 2, 0, 0}, "x", 2)
	f.Fuzz(func(t *testing.T, said, heard []byte, extensions string, size int) {
		if size < 1 || size > 1<<16 || strings.ContainsAny(extensions, "\r\n") {
			return
		}
		run := func(size int) []string {
			r := newSocketRig(responses, extensions, bounds{total: 4 << 20, body: 1 << 20})
			r.say(said, size)
			noErr(t, r.tap.Flush(context.Background()))
			r.hear(heard, size)
			lines := r.finish(t)
			r.accounted(t)
			if !bytes.Equal(r.wire.heard.Bytes(), said) || !bytes.Equal(r.read.Bytes(), heard) {
				t.Fatal("the bytes have changed")
			}
			return lines
		}
		if diff := cmp.Diff(run(1<<20), run(size)); diff != "" {
			t.Error(diff)
		}
	})
}
