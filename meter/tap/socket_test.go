package tap_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

const brokeOff = "the response broke off before its usage"

func TestSocket(t *testing.T) {
	clientClose := line{true, "\x03\xe8"}
	for _, tt := range []struct {
		name  string
		lines []line
		close string // who sends a Close frame: "client", "service" or nobody
		want  []string
	}{
		{"nothing", nil, "client", nil},
		{
			"one response",
			[]line{client(create), created("r1"), service(delta), completed("r1")},
			"client",
			[]string{"x2 r1 completed 101 8+3"},
		},
		{
			"many on one socket",
			[]line{client(create), created("r1"), completed("r1"), client(create), created("r2"), completed("r2")},
			"client",
			[]string{"x2 r1 completed 101 8+3", "x3 r2 completed 101 8+3"},
		},
		{
			"what asks for nothing",
			[]line{client(`{"type":"response.processed"}`), client(create), completed("r1"), client("{}"), service("{}")},
			"client",
			[]string{"x3 r1 completed 101 8+3"},
		},
		{
			"the client leaves",
			[]line{client(create), created("r1")},
			"client",
			[]string{"x2 r1 client_aborted 101: " + brokeOff},
		},
		{
			"the provider leaves",
			[]line{client(create), created("r1")},
			"service",
			[]string{"x2 r1 upstream_failed 101: " + brokeOff},
		},
		{
			"the provider leaves at once",
			[]line{client(create)},
			"service",
			[]string{"x2  upstream_failed 0: " + brokeOff},
		},
		{"begun by the provider", []line{created("r1"), completed("r1")}, "service", []string{"x2 r1 completed 101 8+3"}},
		{
			"an error",
			[]line{client(create), service(`{"type":"error","status":400,"error":{"code":"previous_response_not_found","type":"invalid_request_error"}}`), client(create), completed("r1")},
			"client",
			[]string{"x2  completed 101: the provider answered with an error", "x3 r1 completed 101 8+3"},
		},
		{"prefetch", []line{client(`{"type":"response.create","generate":false}`), completedEmpty}, "client", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newSocketRig(responses, "", bounds{})
			r.pass(tt.lines...)
			switch tt.close {
			case "client":
				r.say(frameBytes(0x88, []byte("key!"), []byte(clientClose.text)))
			case "service":
				r.hear(frameBytes(0x88, nil, nil))
			}
			got := r.finish(t)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			r.accounted(t)
		})
	}
}

var completedEmpty = service(`{"type":"response.completed","response":{"id":"r0","status":"completed","usage":{"input_tokens":0,"output_tokens":0}}}`)

// TestSocketOpensBeforeForwarding: an exchange is open before the first byte
// of its message goes on, and nothing is opened in the middle of one, for a
// control frame, or by the provider's messages.
func TestSocketOpensBeforeForwarding(t *testing.T) {
	r := newSocketRig(responses, "", bounds{})
	var open []int
	r.wire.onWrite = func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		open = append(open, len(r.begun)-1)
	}
	r.say(frameBytes(0x01, nil, []byte(create[:10])))
	r.say(frameBytes(0x89, nil, []byte("ping")))
	r.say(frameBytes(0x80, nil, []byte(create[10:])))
	r.hear(frameBytes(0x81, nil, []byte(delta)))
	r.say(append(frameBytes(0x81, nil, []byte("{}")), frameBytes(0x81, nil, []byte(create))...))
	check(t, "open exchanges at each write", open, []int{1, 1, 1, 3})
	r.finish(t)
	r.accounted(t)
}

// TestRealtimeSocket: where the provider begins the responses, one exchange is
// open ahead, however often the client speaks.
func TestRealtimeSocket(t *testing.T) {
	realtime := responses
	realtime.Format = provider.FormatOpenAIRealtime
	r := newSocketRig(realtime, "", bounds{})
	sound := client(`{"type":"input_audio_buffer.append","audio":"AAAA"}`)
	done := func(id string) line {
		return service(`{"type":"response.done","response":{"id":"` + id + `","status":"completed","usage":{"input_tokens":8,"output_tokens":3}}}`)
	}
	r.pass(service(`{"type":"session.created","session":{"model":"gpt-realtime"}}`), sound, sound, sound, done("r1"))
	noErr(t, r.tap.Flush(context.Background()))
	check(t, "after one answer", r.lines(), []string{"x2 r1 completed 101 8+3"})
	r.pass(sound, sound, done("r2"), done("r3"))
	check(t, "records", r.finish(t), []string{"x2 r1 completed 101 8+3", "x3 r2 completed 101 8+3", "x4 r3 completed 101 8+3"})
	r.accounted(t)
}

// TestSocketFlush: a response that is over on an open socket is stored.
func TestSocketFlush(t *testing.T) {
	r := newSocketRig(responses, "", bounds{})
	for i := range 50 {
		r.pass(client(create), completed("r"))
		noErr(t, r.tap.Flush(context.Background()))
		if got := len(r.lines()); got != i+1 {
			t.Fatalf("%d records after %d responses", got, i+1)
		}
	}
	noErr(t, r.tap.Close(context.Background()))
	r.accounted(t)
}

// TestSocketAfterClose: a tap that is closed lets the bytes pass.
func TestSocketAfterClose(t *testing.T) {
	r := newSocketRig(responses, "", bounds{})
	noErr(t, r.tap.Close(context.Background()))
	r.pass(client(create), completed("r"))
	late := r.tap.Start(tap.Exchange{ID: "late"}).Upgrade(nil, r.wire, func() tap.Exchange { t.Error("begun"); return tap.Exchange{} })
	if n, err := late.Write(frameBytes(0x81, nil, []byte(create))); n == 0 || err != nil {
		t.Error(n, err)
	}
	late.End(tap.Completed, nil)
	check(t, "records", r.lines(), []string(nil))
	r.accounted(t)
}

// TestSocketIdentity: whatever the two ends make of RFC 6455 and RFC 7692, the
// bytes pass as they are, in any pieces, and each response has its record.
func TestSocketIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var extensions string
		packers := map[bool]*packer{}
		if rapid.Bool().Draw(t, "compression") {
			extensions = "permessage-deflate"
			for _, client := range []bool{true, false} {
				packers[client] = &packer{takeover: rapid.Bool().Draw(t, "takeover")}
			}
			if !packers[true].takeover {
				extensions += "; client_no_context_takeover"
			}
			if !packers[false].takeover {
				extensions += `;server_no_context_takeover; server_max_window_bits="15"`
			}
		}
		r := newSocketRig(responses, extensions, bounds{})
		var want []string
		var said, heard []byte
		sizes := rapid.SliceOfN(rapid.IntRange(1, 5000), 1, 5)
		pass := func(l line) {
			b := encodeMessage(t, l, packers[l.client])
			if l.client {
				said = append(said, b...)
				r.say(b, sizes.Draw(t, "sizes")...)
			} else {
				heard = append(heard, b...)
				r.hear(b, sizes.Draw(t, "sizes")...)
			}
		}
		for i := range rapid.IntRange(0, 6).Draw(t, "responses") {
			id := fmt.Sprint("r", i)
			filler := strings.Repeat("words ", rapid.SampledFrom([]int{0, 1, 30, 9000}).Draw(t, "filler"))
			pass(client(`{"type":"response.create","input":"` + filler + `"}`))
			pass(created(id))
			pass(service(`{"type":"response.output_text.delta","delta":"` + filler + `"}`))
			pass(completed(id))
			want = append(want, fmt.Sprintf("x%d %s completed 101 8+3", i+2, id))
		}
		got := r.finish(t)
		r.accounted(t)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if !bytes.Equal(r.wire.heard.Bytes(), said) || !bytes.Equal(r.read.Bytes(), heard) {
			t.Fatal("the bytes have changed")
		}
	})
}

// encodeMessage draws one of the many ways to send a message.
func encodeMessage(t *rapid.T, l line, p *packer) (out []byte) {
	var key []byte
	if l.client {
		key = rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "mask")
	}
	payload, first := []byte(l.text), byte(1)
	if p != nil && rapid.IntRange(0, 3).Draw(t, "packed") > 0 {
		payload, first = p.pack(l.text), 0x41
	}
	for {
		if rapid.IntRange(0, 4).Draw(t, "control") == 0 {
			out = append(out, frameBytes(rapid.SampledFrom([]byte{0x89, 0x8a}).Draw(t, "ping"), key, []byte("are you there"))...)
		}
		n := len(payload)
		if rapid.Bool().Draw(t, "fragment") {
			n = rapid.IntRange(0, n).Draw(t, "length")
		}
		if n == len(payload) {
			return append(out, frameBytes(0x80|first, key, payload)...)
		}
		out = append(out, frameBytes(first, key, payload[:n])...)
		payload, first = payload[n:], 0
	}
}

// TestSocketLeave: a daemon that goes away says so between two messages, and
// only there.
func TestSocketLeave(t *testing.T) {
	p := make([]byte, 100)
	for _, tt := range []struct {
		name string
		last []byte
		want string
	}{
		{"between messages", frameBytes(0x81, nil, []byte(delta)), "\x88\x02\x03\xe9"},
		{"within a frame", frameBytes(0x81, nil, []byte(delta))[:20], ""},
		{"within a header", []byte{0x81}, ""},
		{"within a message", frameBytes(0x01, nil, []byte(delta)), ""},
		{"after the provider's Close", frameBytes(0x88, nil, nil), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newSocketRig(responses, "", bounds{})
			r.hear(tt.last)
			r.socket.Leave()
			var got []byte
			for {
				n, err := r.socket.Read(p[:3])
				got = append(got, p[:n]...)
				if err != nil {
					check(t, "error", err, io.EOF)
					break
				}
			}
			check(t, "goodbye", got, []byte(tt.want))
			r.finish(t)
		})
	}
}

// TestSocketQuiet: a socket is quiet while no response is under way.
func TestSocketQuiet(t *testing.T) {
	r := newSocketRig(responses, "", bounds{})
	settle := func() { noErr(t, r.tap.Flush(context.Background())) }
	r.pass(client(create))
	settle()
	if d := r.socket.Quiet(); d != 0 {
		t.Errorf("quiet for %v with a response under way", d)
	}
	r.pass(completed("r1"))
	settle()
	for deadline := time.Now().Add(time.Minute); r.socket.Quiet() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("not quiet when the response is over")
		}
	}
	r.finish(t)
}

// TestSocketHalfClosed: what the provider has cut is told when it leaves, and
// not when the client notices.
func TestSocketHalfClosed(t *testing.T) {
	r := newSocketRig(responses, "", bounds{})
	r.pass(client(create), created("r1"))
	if _, err := r.socket.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	noErr(t, r.tap.Flush(context.Background()))
	r.pass(client(create))
	noErr(t, r.tap.Flush(context.Background()))
	check(t, "records", r.lines(), []string{"x2 r1 upstream_failed 101: " + brokeOff, "x3  upstream_failed 0: " + brokeOff})
	r.finish(t)
	r.accounted(t)
}
