package tap_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/meter/tap"
)

const sse = "text/event-stream; charset=utf-8"

func TestEvents(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		want []event
	}{
		"LF":               {"event: a\ndata: 1\n\ndata: 2\n\n", []event{{"a", "1"}, {"", "2"}}},
		"CRLF":             {"event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", []event{{"a", "1"}, {"", "2"}}},
		"CR":               {"event: a\rdata: 1\r\rdata: 2\r\r", []event{{"a", "1"}, {"", "2"}}},
		"mixed":            {"data: 1\r\n\ndata: 2\n\r\ndata: 3\r\rdata: 4\n\n", []event{{"", "1"}, {"", "2"}, {"", "3"}, {"", "4"}}},
		"byte order mark":  {"\ufeffdata: 1\n\n", []event{{"", "1"}}},
		"second mark":      {"\ufeff\ufeffdata: 1\n\ndata: 2\n\n", []event{{"", "2"}}},
		"no space":         {"event:a\ndata:1\n\n", []event{{"a", "1"}}},
		"two spaces":       {"event:  a\ndata:  1 \n\n", []event{{" a", " 1 "}}},
		"several lines":    {"data: 1\ndata\ndata:\ndata: 2\n\n", []event{{"", "1\n\n\n2"}}},
		"comments":         {": hello\n\n:\n:data: 0\ndata: 1\n: in between\ndata: 2\n\n", []event{{"", "1\n2"}}},
		"other fields":     {"id: 7\nretry: 1\ndate: 0\ndat: 0\ndatas: 0\n data: 0\nDATA: 0\ndata : 0\ndata: 1\n\n", []event{{"", "1"}}},
		"no data":          {"event: a\n\ndata: 1\n\n", []event{{"", "1"}}},
		"empty data":       {"data\n\ndata:\n\n", []event{{"", ""}, {"", ""}}},
		"last name counts": {"event: a\nevent: b\ndata: 1\nevent: c\n\n", []event{{"c", "1"}}},
		"name is emptied":  {"event: a\nevent\ndata: 1\n\n", []event{{"", "1"}}},
		"no blank line":    {"data: 1\n\nevent: a\ndata: 2\n", []event{{"", "1"}, {"a", "2"}}},
		"no newline":       {"data: 1\n\nevent: a\ndata: 2", []event{{"", "1"}, {"a", "2"}}},
		"colons":           {"data: {\"a\": \"b: c\"}\n\n", []event{{"", `{"a": "b: c"}`}}},
		"long name":        {"event: " + strings.Repeat("n", 300) + "\ndata: 1\n\n", []event{{strings.Repeat("n", 256), "1"}}},
		"NUL and bad text": {"data: \x00\xff\n\n", []event{{"", "\x00\xff"}}},
		"padding first":    {"\n\r\n\r\ndata: 1\n\n", []event{{"", "1"}}},
		"done":             {"data: {}\n\ndata: [DONE]\n\n", []event{{"", "{}"}, {"", "[DONE]"}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 1 << 20} {
				p := &recorder{}
				tap.Feed(p, 200, header(sse), tc.body, size, true)
				if diff := cmp.Diff(tc.want, p.Events); diff != "" {
					t.Errorf("in pieces of %d (-want +got):\n%s", size, diff)
				}
			}
			rec, p := exchange{header: header(sse), resp: body(tc.body)}.pass(t)
			if diff := cmp.Diff(tc.want, p.Events); diff != "" {
				t.Errorf("through a flow (-want +got):\n%s", diff)
			}
			if !p.EOF || !rec.Complete || len(p.Bodies) > 0 {
				t.Errorf("eof %v, complete %v, %d bodies; want a whole stream", p.EOF, rec.Complete, len(p.Bodies))
			}
		})
	}
}

// TestCutEvents: of the last event of a stream that broke off, only whole
// lines count.
func TestCutEvents(t *testing.T) {
	for text, want := range map[string][]event{
		"data: 1\n\ndata: 2\n":          {{"", "1"}, {"", "2"}},
		"data: 1\n\ndata: 2":            {{"", "1"}},
		"data: 1\n\ndata: 2\nevent: b":  {{"", "1"}},
		"data: 1\n\nevent: b\n":         {{"", "1"}},
		"data: 1\n\ndata: 2\r":          {{"", "1"}, {"", "2"}},
		"data: 1\n\n: comment \n\nda":   {{"", "1"}},
		"data: 1\n\ndata: 2\ndata: 3\n": {{"", "1"}, {"", "2\n3"}},
	} {
		for size := range 4 {
			p := &recorder{}
			tap.Feed(p, 200, header(sse), text, size, false)
			if diff := cmp.Diff(want, p.Events); diff != "" {
				t.Errorf("%q in pieces of %d (-want +got):\n%s", text, size, diff)
			}
		}
		cut := body(text, 5)
		cut.err = errBroken
		rec, p := exchange{header: header(sse), resp: cut, outcome: tap.UpstreamFailed}.pass(t)
		if diff := cmp.Diff(want, p.Events); diff != "" || p.EOF || rec.Complete {
			t.Errorf("%q: eof %v, complete %v (-want +got):\n%s", text, p.EOF, rec.Complete, diff)
		}
	}
}

func TestLines(t *testing.T) {
	const text = "{\"a\":1}\n\n  {\"b\":2} \r\n\x1e{\"c\":3}\n{\"d\":4}"
	want := []event{{"", `{"a":1}`}, {"", `{"b":2}`}, {"", `{"c":3}`}, {"", `{"d":4}`}}
	for _, contentType := range []string{"application/x-ndjson", "application/jsonl", "application/json-seq"} {
		p := &recorder{}
		tap.Feed(p, 200, header(contentType), text, 3, true)
		if diff := cmp.Diff(want, p.Events); diff != "" {
			t.Errorf("%s (-want +got):\n%s", contentType, diff)
		}
	}
	cut := body(text, 3)
	cut.err = errBroken
	_, p := exchange{header: header("application/x-ndjson"), resp: cut}.pass(t)
	if diff := cmp.Diff(want[:3], p.Events); diff != "" {
		t.Errorf("cut (-want +got):\n%s", diff)
	}
}

// TestForm: the first bytes decide over the Content-Type.
func TestForm(t *testing.T) {
	const json, stream = `{"error":{"type":"overloaded_error"}}`, "event: a\ndata: 1\n\n"
	for name, tc := range map[string]struct {
		contentType, body string
		events            []event
		bodies            []string
	}{
		"JSON":                {"application/json", json, nil, []string{json}},
		"JSON as events":      {sse, json, nil, []string{json}},
		"JSON after padding":  {sse, " \n\n" + json, nil, []string{" \n\n" + json}},
		"JSON after a mark":   {"application/json", "\ufeff" + json, nil, []string{json}},
		"array as events":     {sse, "[" + json + "]", nil, []string{"[" + json + "]"}},
		"events as JSON":      {"application/json", stream, []event{{"a", "1"}}, nil},
		"events without type": {"", stream, []event{{"a", "1"}}, nil},
		"events with bad type": {
			"text/event-stream; charset", stream,
			[]event{{"a", "1"}},
			nil,
		},
		"data as JSON":       {"application/json", "data: 1\n\n", []event{{"", "1"}}, nil},
		"comment as text":    {"text/plain", ": ping\n\ndata: 1\n\n", []event{{"", "1"}}, nil},
		"id first":           {"", "id: 1\ndata: 1\n\n", []event{{"", "1"}}, nil},
		"retry first":        {"", "retry: 1\ndata: 1\n\n", []event{{"", "1"}}, nil},
		"unknown field":      {sse, "x: 1\n\ndata: 1\n\n", []event{{"", "1"}}, nil},
		"text":               {"text/html", "<html>", nil, []string{"<html>"}},
		"nearly a field":     {"", "dat", nil, []string{"dat"}},
		"empty":              {"application/json", "", nil, []string{""}},
		"empty events":       {sse, "", nil, []string{""}},
		"padding":            {"application/json", "\n\n", nil, []string{"\n\n"}},
		"padding as events":  {sse, "\n\n", nil, nil},
		"long padding":       {"application/json", strings.Repeat(" ", 2000) + json, nil, []string{strings.Repeat(" ", 2000) + json}},
		"only a mark":        {"application/json", "\ufeff", nil, []string{""}},
		"part of a mark":     {"application/json", "\xef\xbb", nil, []string{"\xef\xbb"}},
		"number":             {"application/json", "42", nil, []string{"42"}},
		"binary as anything": {"application/vnd.amazon.eventstream", "\x00\x00\x00\x10", nil, []string{"\x00\x00\x00\x10"}},
	} {
		for _, size := range []int{1, 1 << 20} {
			p := &recorder{}
			tap.Feed(p, 529, header(tc.contentType), tc.body, size, true)
			if diff := cmp.Diff(tc.events, p.Events); diff != "" {
				t.Errorf("%s, in pieces of %d: events (-want +got):\n%s", name, size, diff)
			}
			if diff := cmp.Diff(tc.bodies, p.Bodies); diff != "" {
				t.Errorf("%s, in pieces of %d: bodies (-want +got):\n%s", name, size, diff)
			}
			if len(p.Bodies) > 0 && p.Status != 529 {
				t.Errorf("%s: status %d, want 529", name, p.Status)
			}
		}
	}
}

// TestSameEvents: neither the pieces in which a stream comes nor the codings
// over it change what the parser sees.
func TestSameEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, want := drawStream(t)
		split := &recorder{}
		tap.Feed(split, 200, header(sse), text, rapid.IntRange(1, 40).Draw(t, "piece"), true)
		if diff := cmp.Diff(want, split.Events); diff != "" {
			t.Fatalf("%q in pieces (-want +got):\n%s", text, diff)
		}
		data := []byte(text)
		var encodings []string
		for _, coding := range rapid.SliceOfN(rapid.SampledFrom(codings), 0, 3).Draw(t, "codings") {
			var encoding string
			encoding, data = compress(coding, data)
			encodings = append(encodings, encoding)
		}
		if rapid.Bool().Draw(t, "one header line") {
			encodings = []string{strings.Join(encodings, " , ")}
		}
		sizes := rapid.SliceOfN(rapid.IntRange(1, 40), 1, 5).Draw(t, "sizes")
		rec, p := exchange{
			header: header(sse, encodings...),
			resp:   body(string(data), sizes...),
		}.pass(t)
		if diff := cmp.Diff(want, p.Events); diff != "" {
			t.Fatalf("%q as %v (-want +got):\n%s", text, encodings, diff)
		}
		if !p.EOF || !rec.Complete {
			t.Fatalf("eof %v, complete %v, reason %q", p.EOF, rec.Complete, rec.Reason)
		}
	})
}

// drawStream makes a stream and the events in it.
func drawStream(t *rapid.T) (text string, want []event) {
	word := rapid.StringOfN(rapid.RuneFrom([]rune("az {}\":é")), 0, 12, -1)
	var b strings.Builder
	b.WriteString(rapid.SampledFrom([]string{"", "\ufeff", ": ok\n\n"}).Draw(t, "start"))
	for range rapid.IntRange(1, 6).Draw(t, "events") {
		end := rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "line end")
		var e event
		if rapid.Bool().Draw(t, "named") {
			e.Name = "n" + word.Draw(t, "name")
			b.WriteString("event: " + e.Name + end)
		}
		if rapid.Bool().Draw(t, "commented") {
			b.WriteString(": data: no" + end)
		}
		data := rapid.SliceOfN(word, 1, 3).Draw(t, "data")
		for _, line := range data {
			b.WriteString("data: " + line + end)
		}
		e.Data = strings.Join(data, "\n")
		b.WriteString(end)
		want = append(want, e)
	}
	return b.String(), want
}

// TestLargeEvent: an event beyond the bound is skipped, and the stream goes on.
func TestLargeEvent(t *testing.T) {
	for name, tc := range map[string]struct {
		size int
		want int // events
	}{
		"at the bound":     {tap.MaxEvent, 3},
		"beyond the bound": {tap.MaxEvent + 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			text := "data: 1\n\ndata: " + strings.Repeat("x", tc.size) + "\n\ndata: 3\n\n"
			_, zipped := compress("gzip", []byte(text))
			rec, p := exchange{header: header(sse, "gzip"), resp: body(string(zipped))}.pass(t)
			if len(p.Events) != tc.want || p.Events[tc.want-1].Data != "3" {
				t.Fatalf("%d events, want %d and the last one whole", len(p.Events), tc.want)
			}
			if whole := tc.want == 3; rec.Complete != whole || (rec.Reason == "") != whole {
				t.Errorf("complete %v, reason %q", rec.Complete, rec.Reason)
			}
		})
	}
}

// FuzzEvents compares the reader with the standard's own wording, over all
// pieces in which the bytes may come.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("event: a\ndata: 1\n\ndata: 2\r\n\r\n"), uint8(1))
	f.Add([]byte("\ufeff: c\rdata\rdata:x\r\r"), uint8(2))
	f.Add([]byte("data: 1\n\ndata: 2"), uint8(3))
	f.Add([]byte(":\nid\nevent:\n\ndata: \r"), uint8(4))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		// A comment first makes every input a stream of events.
		data = append([]byte(":\n"), data...)
		p := &recorder{}
		tap.Feed(p, 200, http.Header{}, string(data), int(size), true)
		if diff := cmp.Diff(interpret(data), p.Events); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", data, diff)
		}
	})
}

// interpret is the standard's "Interpreting an event stream", over the whole
// text at once, with a blank line added at the end.
func interpret(text []byte) (events []event) {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	var name, data []byte
	for line := range bytes.SplitSeq(append(text, "\n\n"...), []byte("\n")) {
		if len(line) == 0 {
			if data != nil {
				events = append(events, event{string(name), string(bytes.TrimSuffix(data, []byte("\n")))})
			}
			name, data = nil, nil
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			name = value[:min(len(value), 256)]
		case "data":
			data = append(append(data, value...), '\n')
		}
	}
	return events
}
