package pricing_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/pricing"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// TestRecorded prices real exchanges, from their bytes on, and compares with
// what genai-prices reads out of them and charges; gen/recorded.mjs says how.
func TestRecorded(t *testing.T) {
	want := map[string]*int64{}
	for _, c := range readJSON[[]struct {
		Source  string
		NanoUSD *int64 `json:"nano_usd"`
	}](t, "testdata/recorded.json") {
		want[c.Source] = c.NanoUSD
	}
	if len(want) < 300 {
		t.Fatalf("only %d recorded costs", len(want))
	}
	at := day(t, "2026-09-02T00:00:00Z")
	files, err := filepath.Glob("../provider/testdata/recordings/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			var r recording
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatal(err)
			}
			nanoUSD, ok := want[r.Source]
			if !ok {
				continue
			}
			delete(want, r.Source)
			endpoint, result := r.play(t)
			// The package has list prices only; one recording was served at flex.
			got := pricing.Bundled().Cost(endpoint.Provider, result.Charges, "", at)
			if got.Known != (nanoUSD != nil) || got.Known && got.NanoUSD != *nanoUSD {
				t.Errorf("%s: got %+v, want %v", r.Source, got, nanoUSD)
			}
			tiered := pricing.Bundled().Cost(endpoint.Provider, result.Charges, result.Tier, at)
			if want := got.NanoUSD; tiered.Known != got.Known || tiered.NanoUSD != want && (result.Tier != "flex" || tiered.NanoUSD != (want+1)/2) {
				t.Errorf("%s: at tier %q %+v, at the list price %d", r.Source, result.Tier, tiered, want)
			}
		}
	}
	for source := range want {
		t.Errorf("%s was not found among the recordings", source)
	}
}

type recording struct {
	Source, Method, URL string
	Stream              bool
	Status              int
	RequestBody         string `json:"request_body"`
	ResponseBody        string `json:"response_body"`
}

func (r recording) play(t *testing.T) (provider.Endpoint, provider.Result) {
	t.Helper()
	u, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	endpoint, ok := provider.Lookup(r.Method, u.Hostname(), u.Path)
	if !ok {
		t.Fatalf("%s is not metered", r.URL)
	}
	p := endpoint.NewParser()
	p.Request([]byte(r.RequestBody))
	if !r.Stream {
		p.Body(r.Status, []byte(r.ResponseBody))
		return endpoint, p.Result(true)
	}
	name := ""
	for line := range strings.Lines(r.ResponseBody) {
		line = strings.TrimRight(line, "\r\n")
		if event, ok := strings.CutPrefix(line, "event:"); ok {
			name = strings.TrimSpace(event)
		} else if data, ok := strings.CutPrefix(line, "data:"); ok {
			p.Event(name, []byte(strings.TrimSpace(data)))
			name = ""
		}
	}
	return endpoint, p.Result(true)
}

// readJSON reads a file of testdata, which has no members but T's.
func readJSON[T any](t *testing.T, name string) T {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var v T
	if err := decoder.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
