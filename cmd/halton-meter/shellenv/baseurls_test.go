package shellenv_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
)

func TestBaseURLs(t *testing.T) {
	t.Parallel()
	b := shellenv.BaseURLs{Edge: "127.0.0.1:8081", Project: "team/a b", URLs: []shellenv.BaseURL{
		{Variable: "OPENAI_BASE_URL", Path: "/openai/v1", Host: "api.openai.com"},
		{Variable: "ANTHROPIC_BASE_URL", Path: "/anthropic", Host: "api.anthropic.com"},
	}}
	env := []string{"A=b", "OPENAI_BASE_URL=https://API.openai.com/v1", "ANTHROPIC_BASE_URL=https://gateway.corp.example"}
	want := []string{"A=b", "ANTHROPIC_BASE_URL=https://gateway.corp.example", "OPENAI_BASE_URL=http://127.0.0.1:8081/p/team%2Fa%20b/openai/v1"}
	if diff := cmp.Diff(want, b.Apply(env)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(3, len(env)); diff != "" {
		t.Error(diff)
	}
	b.Project = ""
	want = []string{"OPENAI_BASE_URL=http://127.0.0.1:8081/openai/v1", "ANTHROPIC_BASE_URL=http://127.0.0.1:8081/anthropic"}
	if diff := cmp.Diff(want, b.Apply([]string{"ANTHROPIC_BASE_URL=http://127.0.0.1:8081/p/old/anthropic"})); diff != "" {
		t.Error(diff)
	}
}
