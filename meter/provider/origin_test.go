package provider_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/provider"
)

func ExampleOrigin() {
	h := http.Header{"User-Agent": {"claude-cli/2.1.197 (external, cli)"}, "X-Claude-Code-Session-Id": {"s-1"}}
	body := `{"system":[{"type":"text","text":"# Environment\n - Primary working directory: /home/ann/shop\n - Platform: linux"}]}`
	o := provider.OriginOf(h, []byte(body))
	fmt.Println(o.SessionID, o.Dir)
	// Output: s-1 /home/ann/shop
}

const (
	claude = "User-Agent: claude-cli/2.1.330 (external, cli)"
	codex  = "User-Agent: codex_exec/0.169.0 (Debian 13; x86_64)"
	gemini = "User-Agent: GeminiCLI-tui/0.61.0/gemini-2.5-pro (linux; x64)"
)

func TestOrigin(t *testing.T) {
	quote := func(s string) string {
		q, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(q)
	}
	turn := func(body string) string { return `{"client_metadata":{"x-codex-turn-metadata":` + quote(body) + `}}` }
	const user = `{"device_id":"d","account_uuid":"a","session_id":"s-2"}`
	const userContext = "<environment_context>\n  <cwd>/w/shop/web</cwd>\n  <shell>bash</shell>\n</environment_context>"
	item := `{"input":[{"type":"message","content":[{"type":"input_text","text":"<cwd>/no</cwd>"},{"type":"input_text","text":` +
		strings.ReplaceAll(quote(userContext), `\u003c`, "<") + `}]}]}`
	item = strings.ReplaceAll(item, `\u003e`, ">")
	session := "<session_context>\nThis is the Gemini CLI.\n- **Workspace Directories:**\n  - /w/my shop\n  - /w/other\n</session_context>"
	parts := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(`"contents":[{"role":"user","parts":[{"text":` + quote(session) + `}]},{"role":"user","parts":[]}]`)

	for name, tt := range map[string]struct {
		header string
		body   string
		want   provider.Origin
	}{
		"claude code": {
			claude + "\nX-Claude-Code-Session-Id: s-1\nX-Claude-Code-Agent-Id: a-1",
			`{"messages":[{"content":"Primary working directory: /no\n"}],"system":[{"text":"You are Claude Code"},{"text":"# Environment\n - Primary working directory: /w/\u00fcber \"x\"\n  - Is a git repository: true"}]}`,
			provider.Origin{SessionID: "s-1", AgentID: "a-1", Dir: `/w/über "x"`},
		},
		"claude sdk": {
			claude,
			`{"metadata":{"user_id":` + quote(user) + `},"system":"<env>\nWorking directory: /w/a\\n b\nPlatform: linux"}`,
			provider.Origin{SessionID: "s-2", Dir: `/w/a\n b`},
		},
		"claude, old": {
			claude, `{"metadata":{"user_id":"user_1_account_2_session_3-4"}}`, provider.Origin{SessionID: "3-4"},
		},
		"claude, cut in the system prompt": {
			claude, `{"system":"Primary working directory: /w/pro`, provider.Origin{},
		},
		"claude, relative":  {claude, `{"system":"Primary working directory: w/a\n"}`, provider.Origin{}},
		"claude, windows":   {claude, `{"system":"Primary working directory: C:\\w\n"}`, provider.Origin{}},
		"claude, hostile":   {claude + "\nX-Claude-Code-Session-Id: " + strings.Repeat("x", 300), `{"system":"Primary working directory: /w\u0000x\n"}`, provider.Origin{}},
		"another's system":  {"User-Agent: curl/8", `{"system":"Primary working directory: /w\n"}`, provider.Origin{}},
		"nothing of itself": {"", `{"system":"Primary working directory: /w\n"}`, provider.Origin{}},
		"codex": {
			codex + "\nThread-Id: t-1\nX-Codex-Turn-Metadata: " + `{"session_id":"t-1","thread_id":"t-1","workspaces":{"/w/shop":{"associated_remote_urls":{"origin":"https://example.com/shop.git"}}}}`,
			`{"input":[]}`,
			provider.Origin{SessionID: "t-1", Dir: "/w/shop"},
		},
		"codex below the workspace": {
			codex + `` + "\nX-Codex-Turn-Metadata: " + `{"workspaces":{"/w/shop":{}}}`, item, provider.Origin{Dir: "/w/shop/web"},
		},
		"codex beside the workspace": {
			codex + "\nX-Codex-Turn-Metadata: " + `{"workspaces":{"/w/sho":{}}}`, item, provider.Origin{Dir: "/w/sho"},
		},
		"codex without git":     {codex + "\nSession_id: s-9", item, provider.Origin{SessionID: "s-9", Dir: "/w/shop/web"}},
		"codex, two workspaces": {codex + "\nX-Codex-Turn-Metadata: " + `{"workspaces":{"/a":{},"/b":{}}}`, `{}`, provider.Origin{}},
		"codex sub-agent": {
			codex + "\nThread-Id: t-2\nX-Openai-Subagent: collab_spawn\nX-Codex-Parent-Thread-Id: t-1", `{}`,
			provider.Origin{SessionID: "t-1", AgentID: "t-2"},
		},
		"codex on a websocket": {
			"Originator: codex_cli_rs", turn(`{"session_id":"s","thread_id":"t","workspaces":{"/w/shop":null}}`),
			provider.Origin{SessionID: "s", AgentID: "t", Dir: "/w/shop"},
		},
		"codex, not an object": {codex + "\nX-Codex-Turn-Metadata: turn-meta", `{}`, provider.Origin{}},
		"gemini":               {gemini, `{` + parts + `}`, provider.Origin{Dir: "/w/my shop"}},
		"gemini code assist":   {gemini, `{"model":"m","request":{"session_id":"g-1",` + parts + `}}`, provider.Origin{SessionID: "g-1", Dir: "/w/my shop"}},
		"gemini, later":        {gemini, `{"contents":[{"parts":[]},{"parts":[{"text":"<session_context>**Workspace Directories:**\n  - /no\n"}]}]}`, provider.Origin{}},
	} {
		h := http.Header{}
		for line := range strings.Lines(tt.header) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			h.Set(key, value)
		}
		if got := provider.OriginOf(h, []byte(tt.body)); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
		if got := provider.OriginOf(provider.OriginHeader(h), []byte(tt.body)); got != tt.want {
			t.Errorf("%s: by the copied header: got %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestOriginHeader(t *testing.T) {
	h := http.Header{"User-Agent": {"claude-cli/2"}, "Authorization": {"Bearer x"}, "X-Codex-Turn-Metadata": {strings.Repeat("x", 1<<20)}}
	if got := provider.OriginHeader(h); len(got) != 1 || got.Get("User-Agent") != "claude-cli/2" {
		t.Errorf("kept %d fields", len(got))
	}
	if got := provider.OriginHeader(http.Header{"User-Agent": {"OpenAI/Go 3.96.0"}}); got != nil {
		t.Errorf("kept %v", got)
	}
}

func FuzzOrigin(f *testing.F) {
	f.Add(claude[12:], `{"session_id":"s","workspaces":{"/w":{}}}`, []byte(`{"system":[{"text":"Primary working directory: /w\n"}],"metadata":{"user_id":"{}"}}`))
	f.Add(codex[12:], `{`, []byte(`{"input":[{"content":[{"text":"<environment_context><cwd>/w</cwd>"}]}],"client_metadata":{}}`))
	f.Add(gemini[12:], ``, []byte(`{"request":{"contents":[{"parts":[{"text":"<session_context>**Workspace Directories:**\n  - /w\n"}]}]}}`))
	f.Fuzz(func(t *testing.T, agent, turn string, body []byte) {
		h := http.Header{"User-Agent": {agent}, "X-Codex-Turn-Metadata": {turn}}
		o := provider.OriginOf(h, body)
		for _, id := range []string{o.SessionID, o.AgentID} {
			if len(id) > 256 || strings.ContainsAny(id, "\x00\n\x1b") {
				t.Errorf("id %q", id)
			}
		}
		if o.Dir != "" && (o.Dir[0] != '/' || strings.ContainsRune(o.Dir, 0)) {
			t.Errorf("directory %q", o.Dir)
		}
	})
}
