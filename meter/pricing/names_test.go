package pricing_test

import (
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/pricing"
)

// TestNeighbours has models that genai-prices' clauses take for others: an
// unknown model is never priced as its neighbour. Claude Sonnet 5.5
// and Titan's second embeddings are real, and cost otherwise.
func TestNeighbours(t *testing.T) {
	for providerName, names := range map[string]string{
		"anthropic": "claude-sonnet-5-5 claude-haiku-4-5-mini claude-opus-4-75 claude-opus-4.8-fast claude-opus-9",
		"azure":     "o4-mini-ultra my-o4-mini",
		"aws":       "amazon.titan-embed-text-v2:0 us.anthropic.claude-sonnet-5-5 anthropic.claude-opus-4-61-v1:0",
		"google":    "gemini-3.6-flash-lite gemini-2.5-pro-ultra gemini-1.5-flash-9b tuned-gemini-1.5-pro",
		"deepseek":  "deepseek-chat-v3.1 deepseek-r1-distill-llama-70b deepseek-v4-flash-max",
		"openai":    "gpt-5-nano-max gpt-5-2025 gpt-5-2025-13-40 gpt-99 computer-use-pro",
		"groq":      "openai/gpt-oss-20b:free",
	} {
		for name := range strings.FieldsSeq(names) {
			if e, ok := pricing.Bundled().Find(providerName, name, november); ok {
				t.Errorf("%s's %s is priced as %s (%s)", providerName, name, e.Name, e.Match)
			}
		}
	}
}

// TestSnapshots has other names of models that are in the book: dated
// snapshots, also those that the list does not have, and aliases.
func TestSnapshots(t *testing.T) {
	for providerName, names := range map[string]map[string]string{
		"anthropic": {
			"claude-sonnet-4-20250514": "claude-sonnet-4-0", "claude-sonnet-4@20250514": "claude-sonnet-4-0",
			"claude-haiku-4-5@20251001": "claude-haiku-4-5", "claude-3-opus-20240229": "claude-3-opus-latest",
			"claude-sonnet-5-20270101": "claude-sonnet-5", "claude-opus-5-5-20260922": "claude-opus-5-5",
			"claude-sonnet-4-5[1m]": "claude-sonnet-4-5", "Claude-Opus-4-8": "claude-opus-4-8",
		},
		"openai": {
			"gpt-5.2-2025-12-11": "gpt-5.2", "gpt-5.2-20251211": "gpt-5.2", "gpt-5.2-2027-01-02": "gpt-5.2",
			"computer-use-preview-2025-03-11": "computer-use", "ft:gpt-4o-2024-08-06:acme::id": "ft:gpt-4o",
			"gpt-4o-2024-05-13": "gpt-4o-2024-05-13",
		},
		"google": {
			"gemini-2.5-pro-preview-05-06": "gemini-2.5-pro", "models/gemini-1.5-pro-002": "gemini-1.5-pro",
			"gemini-2.0-flash-001": "gemini-2.0-flash", "gemini-3.1-pro-preview-customtools": "gemini-3.1-pro-preview",
			"claude-opus-4-8@default": "claude-opus-4-8", "gemma-3-27b-it": "gemma-3",
		},
		"aws": {
			"us.anthropic.claude-opus-4-8-v1:0":             "regional.anthropic.claude-opus-4-8-v1:0",
			"anthropic.claude-3-5-sonnet-20241022-v2:0":     "regional.anthropic.claude-3-5-sonnet-20241022-v2:0",
			"amazon.nova-pro-v1:0:300k":                     "amazon.nova-pro-v1:0",
			"arn:aws:bedrock:eu::x/eu.amazon.nova-pro-v1:0": "amazon.nova-pro-v1:0",
		},
		"mistral": {"magistral-medium-2509": "magistral-medium", "mistral-large-latest": "mistral-large"},
		"azure":   {"o4-mini-2025-04-16": "o4-mini", "gpt-5-2025-08-07": "gpt-5"},
	} {
		for name, want := range names {
			if e, ok := pricing.Bundled().Find(providerName, name, november); !ok || e.Name != want {
				t.Errorf("%s's %s is priced as %q, want %q", providerName, name, e.Name, want)
			}
		}
	}
}
