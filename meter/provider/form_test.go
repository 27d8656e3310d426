package provider

import (
	"bytes"
	"mime/multipart"
	"strings"
	"testing"
)

// formOf is a form as the SDKs send it: the file may come first.
func formOf(t testing.TB, fields ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	file, err := w.CreateFormFile("file", "speech.mp3")
	if err == nil {
		_, err = file.Write([]byte("\x00\xff\r\n--no\r\nname=\"model\"\r\n\r\ndecoy\r\n"))
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		if err := w.WriteField(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestForms(t *testing.T) {
	whole := formOf(t, "prompt", "x", "model", "gpt-4o-transcribe", "stream", "true")
	many := strings.Split(strings.Repeat("a,b,", maxParts)+"model,late", ",")
	for name, tc := range map[string]struct {
		body   []byte
		model  string
		stream bool
	}{
		"whole":                   {whole, "gpt-4o-transcribe", true},
		"cut after the model":     {whole[:bytes.Index(whole, []byte(`"stream"`))], "gpt-4o-transcribe", false},
		"cut in the model":        {whole[:bytes.Index(whole, []byte("4o-transcribe"))], "", false},
		"a model that is a file":  {bytes.ReplaceAll(whole, []byte(`name="model"`), []byte(`name="model"; filename="x"`)), "", true},
		"a model not to be shown": {formOf(t, "model", "\x1b[2J"), "", false},
		"a long model":            {formOf(t, "model", strings.Repeat("x", maxText+1)), "", false},
		"too many parts":          {formOf(t, many...), "", false},
		"no boundary":             {[]byte("--\r\n"), "", false},
		"a long boundary":         {[]byte("--" + strings.Repeat("x", 100)), "", false},
	} {
		got := exchangeOf(FormatOpenAIChat, string(tc.body), "", false)
		if got.RequestedModel != tc.model || got.Stream != tc.stream {
			t.Errorf("%s: model = %q, stream = %v; want %q, %v", name, got.RequestedModel, got.Stream, tc.model, tc.stream)
		}
	}
}
