package shellenv_test

import (
	"slices"
	"testing"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
)

func TestExcludes(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]bool{
		"": false, "*": true, "localhost,127.0.0.1": false, "localhost, *": true, "api.anthropic.com": true,
		".anthropic.com": true, "anthropic.com": true, "*.Anthropic.com": true, "thropic.com": false, "x.api.anthropic.com": false, ",,": false,
	} {
		if got := shellenv.Excludes(list, "api.anthropic.com"); got != want {
			t.Errorf("%q: %v", list, got)
		}
	}
	env := []string{"NO_PROXY=.openai.com", "no_proxy=api.x.ai"}
	if got := shellenv.Excluded(env, []string{"api.openai.com", "api.anthropic.com", "api.x.ai"}); !slices.Equal(got, []string{"api.openai.com", "api.x.ai"}) {
		t.Errorf("%q", got)
	}
}
