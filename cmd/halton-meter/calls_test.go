package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/internal/replay"
	"github.com/haltonlabs/halton-meter/meter/ledger"
)

// call is a recorded exchange and what its row must say. The costs in
// testdata/calls.json are calcPrice's, of the npm package
// @pydantic/genai-prices 0.1.8, for the usage in the recording; the one that
// OpenAI served at its flex tier, which that package does not know, costs half.
type call struct {
	File  string `json:"file"`
	Index int    `json:"index"`

	Path             string `json:"path"`
	Model            string `json:"model"`
	Stream           bool   `json:"stream"`
	InputTokens      int64  `json:"input_tokens"`
	OutputTokens     int64  `json:"output_tokens"`
	ThinkingTokens   int64  `json:"thinking_tokens"`
	CacheReadTokens  int64  `json:"cache_read_tokens"`
	CacheWriteTokens int64  `json:"cache_write_tokens"`
	WebSearches      int64  `json:"web_searches"`
	CostNanoUSD      int64  `json:"cost_nano_usd"`

	recording replay.Recording
}

// recordings is where the recorded exchanges lie, with their licence.
const recordings = "../../meter/provider/testdata/recordings"

func loadCalls(t *testing.T) []call {
	t.Helper()
	data, err := os.ReadFile("testdata/calls.json")
	if err != nil {
		t.Fatal(err)
	}
	var calls []call
	if err := json.Unmarshal(data, &calls); err != nil {
		t.Fatal(err)
	}
	files := map[string][]replay.Recording{}
	for i, c := range calls {
		if files[c.File] == nil {
			files[c.File] = replay.Load(t, filepath.Join(recordings, c.File))
		}
		calls[i].recording = files[c.File][c.Index]
	}
	return calls
}

// diff says where a row is not what the call must give.
func (c call) diff(row ledger.Row) string {
	got := call{
		Path: row.Path, Model: row.Model, Stream: row.Stream, WebSearches: row.ToolCalls["web_search"],
	}
	for _, n := range []struct {
		to   *int64
		from *int64
	}{
		{&got.InputTokens, row.InputTokens},
		{&got.OutputTokens, row.OutputTokens},
		{&got.ThinkingTokens, row.ThinkingTokens},
		{&got.CacheReadTokens, row.CacheReadTokens},
		{&got.CacheWriteTokens, row.CacheWriteTokens},
		{&got.CostNanoUSD, row.CostNanoUSD},
	} {
		if n.from == nil {
			n.from = new(int64(-1)) // not known
		}
		*n.to = *n.from
	}
	want := c
	want.File, want.Index, want.recording = "", 0, replay.Recording{}
	return cmp.Diff(want, got, cmp.AllowUnexported(call{}))
}
