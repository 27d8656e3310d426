package provider

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recording is a line of testdata/recordings.
type recording struct {
	Source       string `json:"source"`
	Method       string `json:"method"`
	URL          string `json:"url"`
	ContentType  string `json:"content_type"`
	Status       int    `json:"status"`
	Stream       bool   `json:"stream"`
	Usage        bool   `json:"usage"` // the body has a usage, maybe null
	RequestBody  string `json:"request_body"`
	ResponseBody string `json:"response_body"`
}

// Recording, Read and Oracle are for tap_test.go, which is outside of the
// package because tap imports it.
type Recording = recording

// Read reads one file of the recordings.
func Read(t testing.TB, name string) []Recording {
	return readRecordings(t, os.DirFS("testdata/recordings"), name)
}

// Oracle is the usage that the recording names.
func (r recording) Oracle(t *testing.T) *Usage { return oracle(t, r).usage }

// nullUsage is how a response that still runs names its usage.
var nullUsage = regexp.MustCompile(`"usage": ?null`)

func readRecordings(t testing.TB, dir fs.FS, name string) []recording {
	t.Helper()
	data, err := fs.ReadFile(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	var all []recording
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var r recording
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if lines.Err() != nil || len(all) == 0 {
		t.Fatalf("read %s: %d recordings, %v", name, len(all), lines.Err())
	}
	return all
}

// play feeds the recording to a parser of its endpoint.
func (r recording) play(t testing.TB) (Result, bool) {
	t.Helper()
	u, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	endpoint, ok := Lookup(r.Method, u.Hostname(), u.Path)
	if !ok {
		return Result{}, false
	}
	p := endpoint.NewParser()
	p.Request([]byte(r.RequestBody))
	if r.Stream {
		for _, e := range splitEvents(r.ResponseBody) {
			p.Event(e.name, []byte(e.data))
		}
	} else {
		p.Body(r.Status, []byte(r.ResponseBody))
	}
	return p.Result(true), true
}

type event struct{ name, data string }

// splitEvents is as much of an SSE parser as the recordings need.
func splitEvents(body string) []event {
	var events []event
	for block := range strings.SplitSeq(strings.ReplaceAll(body, "\r\n", "\n"), "\n\n") {
		var e event
		for line := range strings.SplitSeq(block, "\n") {
			if v, ok := strings.CutPrefix(line, "event:"); ok {
				e.name = strings.TrimSpace(v)
			} else if v, ok := strings.CutPrefix(line, "data:"); ok {
				e.data += strings.TrimPrefix(v, " ")
			}
		}
		if e.data != "" {
			events = append(events, e)
		}
	}
	return events
}

// recorded are the files of recordings, and how many of each name a usage at
// an endpoint that is metered.
var recorded = []struct {
	name  string
	usage int
}{
	{"anthropic.jsonl", 71},
	{"openai.jsonl", 114},
	{"gemini.jsonl", 62},
	{"groq.jsonl", 33},
	{"mistral.jsonl", 20},
	{"deepseek.jsonl", 14},
	{"openrouter.jsonl", 47},
}

// TestRecordings checks the parsers against real exchanges: wherever a body
// names a usage, exactly those tokens come out, and the cost that it names.
func TestRecordings(t *testing.T) {
	dir := os.DirFS("testdata/recordings")
	for _, file := range recorded {
		metered, withUsage := 0, 0
		for _, r := range readRecordings(t, dir, file.name) {
			t.Run(r.Source, func(t *testing.T) {
				got, ok := r.play(t)
				if !ok {
					return
				}
				metered++
				want := oracle(t, r)
				counted := strings.Contains(r.URL, ":countTokens")
				if found := want.usage != nil && !counted || nullUsage.MatchString(r.ResponseBody); found != r.Usage {
					t.Fatalf("the oracle finds %+v; the body has a usage: %v", want, r.Usage)
				}
				if (got.ErrorClass != "") != want.failed {
					t.Errorf("error class = %q, want one: %v", got.ErrorClass, want.failed)
				}
				if want.usage == nil {
					if got.Usage != nil || got.Complete || got.Reason == "" {
						t.Errorf("usage = %+v, complete = %v, reason = %q; the body names none", got.Usage, got.Complete, got.Reason)
					}
					return
				}
				withUsage++
				if diff := cmp.Diff(want.usage, got.Usage); diff != "" {
					t.Errorf("usage (-oracle +parser):\n%s", diff)
				}
				if got.Complete == want.contradictory || got.Model == "" {
					t.Errorf("complete = %v (%s), model = %q", got.Complete, got.Reason, got.Model)
				}
				var cost *int64
				if got.ReportedCost != nil {
					cost = &got.ReportedCost.NanoUSD
				}
				if diff := cmp.Diff(want.nanoUSD, cost); diff != "" {
					t.Errorf("reported cost (-oracle +parser):\n%s", diff)
				}
				if !json.Valid(got.RawUsage) && !counted {
					t.Errorf("raw usage = %s", got.RawUsage)
				}
			})
		}
		t.Logf("%s: %d metered, %d with usage", file.name, metered, withUsage)
		if withUsage < file.usage {
			t.Errorf("%s: only %d recordings with usage were tested, not %d", file.name, withUsage, file.usage)
		}
	}
}

// TestRecordingsCut checks that a body that breaks off, anywhere, never makes
// a parser claim that its usage is final, and never more usage than there was.
func TestRecordingsCut(t *testing.T) {
	dir := os.DirFS("testdata/recordings")
	for _, file := range recorded {
		for _, r := range readRecordings(t, dir, file.name) {
			whole, ok := r.play(t)
			if !ok || whole.Usage == nil || len(r.ResponseBody) > 20_000 {
				continue
			}
			u, _ := url.Parse(r.URL)
			endpoint, _ := Lookup(r.Method, u.Hostname(), u.Path)
			for cut := 0; cut < len(strings.TrimSpace(r.ResponseBody)); cut += 1 + len(r.ResponseBody)/97 {
				p := endpoint.NewParser()
				p.Request([]byte(r.RequestBody[:cut%(len(r.RequestBody)+1)]))
				if r.Stream {
					for _, e := range splitEvents(r.ResponseBody[:cut]) {
						p.Event(e.name, []byte(e.data))
					}
				} else {
					p.Body(r.Status, []byte(r.ResponseBody[:cut]))
				}
				got := p.Result(false)
				if got.Complete && !cmp.Equal(got.Usage, whole.Usage) {
					t.Fatalf("%s cut at %d: complete with %+v, want %+v", r.Source, cut, got.Usage, whole.Usage)
				}
				if !got.Complete && got.Reason == "" {
					t.Fatalf("%s cut at %d: incomplete without a reason", r.Source, cut)
				}
				if got.Usage != nil && got.Usage.Output > whole.Usage.Output {
					t.Fatalf("%s cut at %d: %+v is more than %+v", r.Source, cut, got.Usage, whole.Usage)
				}
			}
		}
	}
}
