package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestHostsFollowTheConfiguration: the edge learns of a host, keeps it while
// another table is wrong, and forgets it with the file.
func TestHostsFollowTheConfiguration(t *testing.T) {
	clock := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	h := &hosts{config: filepath.Join(t.TempDir(), "config.toml"), now: func() time.Time { return clock }}
	const added = "[providers.\"llm.corp.example\"]\nformat = \"openai-chat\"\n"
	for i, step := range []struct {
		content string // "" is no file
		wait    time.Duration
		want    bool
	}{
		{"", 0, false},
		{added, hostsTTL - 1, false},
		{added, 1, true},
		{added + "[pricing.\"m\"]\ninput = -3\n", hostsTTL, true},
		{added + "[broken\n", hostsTTL, false},
		{added, hostsTTL, true},
		{"", hostsTTL, false},
	} {
		if step.content == "" {
			os.Remove(h.config)
		} else if err := os.WriteFile(h.config, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		clock = clock.Add(step.wait)
		if got := h.has("llm.corp.example", 443); got != step.want {
			t.Errorf("step %d: metered %v, want %v", i, got, step.want)
		}
		if !h.has("api.openai.com", 443) {
			t.Errorf("step %d: OpenAI is not metered", i)
		}
	}
}
