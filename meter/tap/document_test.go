package tap_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/haltonlabs/halton-meter/meter/tap"
)

func TestDocument(t *testing.T) {
	for in, want := range map[string]string{
		``:                            ``,
		`{"a":"b"}`:                   `{"a":"b"}`,
		` [ "0123456789abcdef",1]`:    ` [ "0123456789",1]`, // 4, and the 6 that may belong to an escape
		`{"k":"0123\u00e9abcdefgh"}`:  `{"k":"0123\u00e9a"}`,
		`{"k":"0123456789\"x"}`:       `{"k":"0123456789"}`,
		`["0123456789\\\\",{"n":12}]`: `["0123456789",{"n":12}]`,
		`["012345678äöü"]`:            `["012345678ä"]`,
		`{"0123456789abcdef":1}`:      `{"0123456789":1}`,
		`"0123456789abcdef"`:          `"0123456789abcdef"`, // no object
		`--x "0123456789abcdef"`:      `--x "0123456789abcdef"`,
		`["0123456789abcdef`:          `["0123456789`, // cut
	} {
		for size := 1; size <= len(in)+1; size++ {
			if got, err := tap.Keep(in, size, 4); got != want || err != nil {
				t.Errorf("of %s in pieces of %d: %s, %v; want %s", in, size, got, err, want)
			}
		}
	}
}

// Whatever the text and however it comes, what is kept is the same text with
// the beginnings of its strings.
func TestDocumentKeepsItsShape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const long = 20
		in := drawJSON(t, 3)
		text, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := tap.Keep(string(text), rapid.IntRange(1, 40).Draw(t, "size"), long)
		if err != nil || len(kept) > len(text) {
			t.Fatalf("%d of %d bytes, %v", len(kept), len(text), err)
		}
		var out any
		if err := json.Unmarshal([]byte(kept), &out); err != nil {
			t.Fatalf("%s becomes %s: %v", text, kept, err)
		}
		sameShape(t, in, out, long)
	})
}

// drawJSON draws an object or an array.
func drawJSON(t *rapid.T, depth int) any {
	text := rapid.StringOf(rapid.SampledFrom([]rune("abcxyz0189 \"\"\\\\\n\t\x01<&{}[]:,äé€😀\u2028")))
	list := make([]any, rapid.IntRange(0, 4).Draw(t, "length"))
	for i := range list {
		switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
		case kind == 0 && depth > 0:
			list[i] = drawJSON(t, depth-1)
		case kind == 1:
			list[i] = float64(rapid.IntRange(-9, 9).Draw(t, "number"))
		default:
			list[i] = text.Draw(t, "text")
		}
	}
	if rapid.Bool().Draw(t, "object") {
		object := map[string]any{}
		for i, v := range list {
			object[fmt.Sprintf("key%d", i)] = v
		}
		return object
	}
	return list
}

func sameShape(t *rapid.T, in, out any, long int) {
	switch in := in.(type) {
	case string:
		out, ok := out.(string)
		if !ok || !strings.HasPrefix(in, out) || !utf8.ValidString(out) || len(in) <= long/6 && in != out {
			t.Fatalf("%q becomes %q", in, out)
		}
	case []any:
		out, ok := out.([]any)
		if !ok || len(in) != len(out) {
			t.Fatalf("%v becomes %v", in, out)
		}
		for i := range in {
			sameShape(t, in[i], out[i], long)
		}
	case map[string]any:
		out, ok := out.(map[string]any)
		if !ok || len(in) != len(out) {
			t.Fatalf("%v becomes %v", in, out)
		}
		for k := range in {
			sameShape(t, in[k], out[k], long)
		}
	default:
		if in != out {
			t.Fatalf("%v becomes %v", in, out)
		}
	}
}

// An answer whose image is larger than all that is kept of a body still tells
// its usage, and so does an event of a stream.
func TestUsageBehindAnImage(t *testing.T) {
	image := strings.Repeat("iVBORw0KGgo+/", 3<<20/13)
	text := `{"image":"` + image + `","usage":{"output_tokens":4160}}`
	for _, x := range []exchange{
		{header: header("application/json"), resp: body(text, 1<<15)},
		{header: header(sse), resp: body("data: "+text+"\n\n", 1<<15)},
	} {
		x.tap = &tap.Tap{MaxBody: 1 << 20}
		rec, p := x.pass(t)
		for _, e := range p.Events {
			p.Bodies = append(p.Bodies, e.Data)
		}
		if !rec.Complete || len(p.Bodies) != 1 || !strings.HasSuffix(p.Bodies[0], `","usage":{"output_tokens":4160}}`) || len(p.Bodies[0]) > 1<<19 {
			t.Errorf("complete %v (%s), %d bodies", rec.Complete, rec.Reason, len(p.Bodies))
		}
	}
}
