package tap_test

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/meter/tap"
)

const amazon = "application/vnd.amazon.eventstream"

// headerOf writes a header of a message whose value is a string.
func headerOf(name, value string) string {
	b := append([]byte{byte(len(name))}, name...)
	b = append(b, 7)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return string(b) + value
}

// messageOf writes a message of Amazon's event stream encoding.
func messageOf(headers, payload string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(12+len(headers)+len(payload)+4))
	b = binary.BigEndian.AppendUint32(b, uint32(len(headers)))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	b = append(append(b, headers...), payload...)
	return string(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b)))
}

func TestMessages(t *testing.T) {
	one := messageOf(headerOf(":message-type", "event")+headerOf(":event-type", "metadata")+headerOf(":content-type", "application/json"), `{"a":1}`)
	empty := messageOf("", "")
	exception := messageOf(headerOf(":message-type", "exception")+headerOf(":exception-type", "throttlingException"), `{"message":"m"}`)
	all := "\x01a\x00\x01b\x01\x01c\x02x\x01d\x03xx\x01e\x04xxxx\x01f\x05xxxxxxxx\x01g\x06\x00\x02xx" +
		"\x01h\x08xxxxxxxx\x01i\x09xxxxxxxxxxxxxxxx" + headerOf(":event-type", "chunk")
	damaged := func(message string, at int) string {
		b := []byte(message)
		b[at] ^= 1
		return string(b)
	}
	events := []event{{"metadata", `{"a":1}`}}
	for name, tc := range map[string]struct {
		body     string
		want     []event
		whole    bool
		bodyOnly bool
	}{
		"one":                    {one, events, true, false},
		"several":                {one + empty + exception, []event{events[0], {"", ""}, {"throttlingException", `{"message":"m"}`}}, true, false},
		"all types of headers":   {messageOf(all, "x"), []event{{"chunk", "x"}}, true, false},
		"binary":                 {messageOf("", "\x00\xff\n\r\n"), []event{{"", "\x00\xff\n\r\n"}}, true, false},
		"a long name":            {messageOf(headerOf(":event-type", strings.Repeat("n", 300)), ""), []event{{strings.Repeat("n", 256), ""}}, true, false},
		"cut":                    {one + exception[:40], events, false, false},
		"cut in the prelude":     {one + exception[:5], events, false, false},
		"a damaged payload":      {one + damaged(one, len(one)-6) + one, events, false, false},
		"a damaged length":       {one + damaged(one, 3) + one, events, false, false},
		"headers beyond the end": {one + messageOf("\x01a\x07\xff\xff", ""), events, false, false},
		"half a header":          {one + messageOf("\x09a", ""), events, false, false},
		"an unknown header":      {one + messageOf("\x01a\x0a", ""), events, false, false},
		"a damaged start":        {damaged(one, 3), nil, true, true},
		"too short":              {"\x00\x00\x00\x0c\x00\x00\x00\x00", nil, true, true},
		"JSON":                   {`{"message":"denied"}`, nil, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 2, 13, 1 << 20} {
				p := &recorder{}
				tap.Feed(p, 400, header(amazon), tc.body, size, true)
				if diff := cmp.Diff(tc.want, p.Events); diff != "" {
					t.Errorf("in pieces of %d (-want +got):\n%s", size, diff)
				}
				if tc.bodyOnly != (len(p.Bodies) == 1) {
					t.Errorf("in pieces of %d: %d bodies", size, len(p.Bodies))
				}
			}
			rec, p := exchange{header: header(amazon), resp: body(tc.body, 7)}.pass(t)
			if diff := cmp.Diff(tc.want, p.Events); diff != "" {
				t.Errorf("through a flow (-want +got):\n%s", diff)
			}
			if rec.Complete != tc.whole || (rec.Reason == "") != tc.whole {
				t.Errorf("complete = %v, reason = %q", rec.Complete, rec.Reason)
			}
		})
	}
}

// TestLargeMessage: a message beyond the bound is skipped, and the stream goes
// on.
func TestLargeMessage(t *testing.T) {
	small := messageOf(headerOf(":event-type", "a"), "1")
	large := messageOf("", strings.Repeat("x", tap.MaxEvent))
	encoding, zipped := compress("gzip", []byte(small+large+small))
	rec, p := exchange{header: header(amazon, encoding), resp: body(string(zipped))}.pass(t)
	if want := []event{{"a", "1"}, {"a", "1"}}; !cmp.Equal(want, p.Events) || rec.Complete {
		t.Errorf("%d events, complete %v; want both small ones", len(p.Events), rec.Complete)
	}
}

func TestSameMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		var want []event
		for range rapid.IntRange(1, 5).Draw(t, "messages") {
			e := event{rapid.StringN(0, 20, 200).Draw(t, "name"), rapid.StringN(0, 60, -1).Draw(t, "payload")}
			text.WriteString(messageOf(headerOf(":date", "x")+headerOf(":event-type", e.Name), e.Data))
			want = append(want, e)
		}
		coding := rapid.SampledFrom(codings).Draw(t, "coding")
		encoding, data := compress(coding, []byte(text.String()))
		sizes := rapid.SliceOfN(rapid.IntRange(1, 40), 1, 5).Draw(t, "sizes")
		rec, p := exchange{header: header(amazon, encoding), resp: body(string(data), sizes...)}.pass(t)
		if diff := cmp.Diff(want, p.Events); diff != "" || !rec.Complete {
			t.Fatalf("complete %v, reason %q (-want +got):\n%s", rec.Complete, rec.Reason, diff)
		}
	})
}

// FuzzMessages: whatever comes after a sound message, its event comes once and
// first, the pieces do not matter, and nothing that does not sum up is an event.
func FuzzMessages(f *testing.F) {
	first := messageOf(headerOf(":event-type", "a"), "1")
	f.Add([]byte(messageOf(headerOf(":event-type", "b"), "2")), uint8(1))
	f.Add([]byte(messageOf("\x01a\x0a", "")), uint8(5))
	f.Add([]byte(first[:20]), uint8(9))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		text := first + string(data)
		p, q := &recorder{}, &recorder{}
		tap.Feed(p, 200, header(amazon), text, int(size), true)
		tap.Feed(q, 200, header(amazon), text, len(text), true)
		if diff := cmp.Diff(q.Events, p.Events); diff != "" {
			t.Fatalf("the pieces matter (-whole +pieces):\n%s", diff)
		}
		if len(p.Events) == 0 || p.Events[0] != (event{"a", "1"}) || len(p.Bodies) > 0 {
			t.Fatalf("events = %q, %d bodies", p.Events, len(p.Bodies))
		}
		sum := 0
		for _, e := range p.Events {
			sum += 16 + len(e.Data)
		}
		if sum > len(text) {
			t.Fatalf("%d events of %d bytes", len(p.Events), len(text))
		}
	})
}
