package provider

import (
	"slices"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	anthropic := Endpoint{Provider: "anthropic", Format: FormatAnthropicMessages, Kind: KindChat}
	chat := Endpoint{Provider: "openai", Format: FormatOpenAIChat, Kind: KindChat}
	responses := Endpoint{Provider: "openai", Format: FormatOpenAIResponses, Kind: KindChat}
	embeddings := Endpoint{Provider: "openai", Format: FormatOpenAIChat, Kind: KindEmbedding}
	retrieve := responses
	retrieve.Retrieve = true
	socket := responses
	socket.Socket, socket.Stream = true, true
	realtime := Endpoint{Provider: "openai", Format: FormatOpenAIRealtime, Kind: KindAudio, Socket: true, Stream: true}
	none := Endpoint{}
	at := func(provider string, e Endpoint) Endpoint {
		e.Provider = provider
		return e
	}
	gemini := func(model string, stream bool) Endpoint {
		return Endpoint{Provider: "google", Format: FormatGemini, Kind: KindChat, Model: model, Stream: stream}
	}
	geminiChat := Endpoint{Provider: "google", Format: FormatGeminiChat, Kind: KindChat}
	bedrock := func(format Format, model string, stream bool) Endpoint {
		return Endpoint{Provider: "aws", Format: format, Kind: KindChat, Model: model, Stream: stream}
	}
	azure := at("azure", chat)
	azure.Model = "my-gpt"
	vertexClaude := at("google", anthropic)
	vertexClaude.Model, vertexClaude.Stream = "claude-sonnet-4-5@20250929", true
	image := Endpoint{Provider: "openai", Format: FormatOpenAIChat, Kind: KindImage}
	audio := Endpoint{Provider: "openai", Format: FormatOpenAIChat, Kind: KindAudio}
	embed := gemini("gemini-embedding-2", false)
	embed.Kind = KindEmbedding
	const location = "/v1/projects/p/locations/us-east5"
	for _, tt := range []struct {
		method, host, path string
		want               Endpoint
	}{
		{"POST", "api.anthropic.com", "/v1/messages", anthropic},
		{"POST", "API.Anthropic.com.", "/v1/messages", anthropic},
		{"POST", "api.anthropic.com", "/v1/messages?beta=true", anthropic},
		{"POST", "api.anthropic.com", "//v1/messages", anthropic},
		{"GET", "api.anthropic.com", "/v1/messages", none},
		{"POST", "api.anthropic.com", "/v1/messages/count_tokens", none},
		{"POST", "api.anthropic.com", "/v1/messages/batches", none},
		{"GET", "api.anthropic.com", "/v1/messages/batches/msgbatch_1/results", Endpoint{Provider: "anthropic", Format: FormatAnthropicBatch, Kind: KindChat, Retrieve: true}},
		{"GET", "api.anthropic.com", "/v1/messages/batches/msgbatch_1", none},
		{"POST", "api.anthropic.com", "/v1/chat/completions", none},
		{"POST", "api.openai.com", "/v1/chat/completions", chat},
		{"POST", "api.openai.com", "/v1/completions", chat},
		{"POST", "api.openai.com", "/v1/embeddings", embeddings},
		{"POST", "api.openai.com", "/v1/responses", responses},
		{"POST", "api.openai.com", "/v1/responses/compact", responses},
		{"GET", "api.openai.com", "/v1/responses/resp_1", retrieve},
		{"GET", "api.openai.com", "/v1/responses/", socket},
		{"GET", "api.openai.com", "/v1/responses?x=1", socket},
		{"GET", "api.openai.com", "/v1/realtime?model=gpt-realtime", realtime},
		{"GET", "chatgpt.com", "/backend-api/codex/responses", socket},
		{"GET", "api.openai.com", "/v1/responses/resp_1/input_items", none},
		{"POST", "api.openai.com", "/v1/responses/resp_1", none},
		{"GET", "api.openai.com", "/v1/models", none},
		{"POST", "api.openai.com", "/v1/vector_stores", none},
		{"POST", "api.openai.com", "/v1/files", none},
		{"POST", "api.openai.com", "/responses", none},
		{"POST", "api.openai.com.example.org", "/v1/responses", none},
		{"POST", "", "", none},
		{"POST", "api.openai.com", "/v1/images/edits", image},
		{"POST", "api.openai.com", "/v1/audio/transcriptions", audio},
		{"POST", "chatgpt.com", "/backend-api/codex/responses", responses},
		{"GET", "chatgpt.com", "/backend-api/codex/models", none},
		{"POST", "chatgpt.com", "/backend-api/conversation", none},
		{"POST", "api.x.ai", "/v1/chat/completions", at("xai", chat)},
		{"POST", "api.x.ai", "/v1/responses", at("xai", responses)},
		{"POST", "api.x.ai", "/v1/messages", at("xai", anthropic)},
		{"POST", "api.groq.com", "/openai/v1/chat/completions", at("groq", chat)},
		{"POST", "api.mistral.ai", "/v1/fim/completions", at("mistral", chat)},
		{"POST", "api.deepseek.com", "/chat/completions", at("deepseek", chat)},
		{"POST", "api.deepseek.com", "/v1/chat/completions", at("deepseek", chat)},
		{"POST", "api.deepseek.com", "/responses", at("deepseek", responses)},
		{"POST", "api.deepseek.com", "/anthropic/v1/messages", at("deepseek", anthropic)},
		{"POST", "openrouter.ai", "/api/v1/chat/completions", at("openrouter", chat)},
		{"POST", "openrouter.ai", "/api/v1/messages", at("openrouter", anthropic)},
		{"GET", "openrouter.ai", "/api/v1/generation", none},
		{"POST", "generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-pro:generateContent", gemini("gemini-2.5-pro", false)},
		{"POST", "generativelanguage.googleapis.com", "/v1/models/gemini-2.5-pro:streamGenerateContent?alt=sse", gemini("gemini-2.5-pro", true)},
		{"POST", "generativelanguage.googleapis.com", "/v1alpha/tunedModels/mine:generateContent", gemini("mine", false)},
		{"POST", "generativelanguage.googleapis.com", "/v1beta/models/gemini-embedding-2:batchEmbedContents", embed},
		{"POST", "generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-pro:countTokens", Endpoint{Provider: "google", Format: FormatGemini, Kind: KindOther, Model: "gemini-2.5-pro"}},
		{"POST", "us-east5-aiplatform.googleapis.com", location + "/publishers/google/models/text-embedding-005:predict", Endpoint{Provider: "google", Format: FormatGemini, Kind: KindEmbedding, Model: "text-embedding-005"}},
		{"POST", "generativelanguage.googleapis.com", "/v1beta/models/:generateContent", none},
		{"POST", "generativelanguage.googleapis.com", "/v1beta/models/a/b:generateContent", none},
		{"POST", "generativelanguage.googleapis.com", "/v1beta/cachedContents", none},
		{"GET", "generativelanguage.googleapis.com", "/v1beta/models", none},
		{"POST", "generativelanguage.googleapis.com", "/v1beta/openai/chat/completions", geminiChat},
		{"POST", "cloudcode-pa.googleapis.com", "/v1internal:generateContent", gemini("", false)},
		{"POST", "cloudcode-pa.googleapis.com", "/v1internal:streamGenerateContent?alt=sse", gemini("", true)},
		{"POST", "cloudcode-pa.googleapis.com", "/v1internal:loadCodeAssist", none},
		{"POST", "us-east5-aiplatform.googleapis.com", location + "/publishers/google/models/gemini-2.5-pro:streamGenerateContent", gemini("gemini-2.5-pro", true)},
		{"POST", "aiplatform.googleapis.com", "/v1beta1/publishers/google/models/gemini-2.5-pro:generateContent", gemini("gemini-2.5-pro", false)},
		{"POST", "us-east5-aiplatform.googleapis.com", location + "/publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict", vertexClaude},
		{"POST", "us-east5-aiplatform.googleapis.com", location + "/publishers/anthropic/models/count-tokens:rawPredict", none},
		{"POST", "us-east5-aiplatform.googleapis.com", location + "/endpoints/openapi/chat/completions", geminiChat},
		{"POST", "bedrock-runtime.us-east-1.amazonaws.com", "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream", bedrock(FormatBedrockConverse, "us.anthropic.claude-sonnet-4-5-20250929-v1:0", true)},
		{"POST", "bedrock-runtime.us-east-1.amazonaws.com", "/model/arn%3Aaws%3Abedrock%3A%3A1%3Ainference-profile%2Fx/invoke", bedrock(FormatBedrockInvoke, "arn:aws:bedrock::1:inference-profile/x", false)},
		{"POST", "bedrock-runtime.us-east-1.amazonaws.com", "/model/%1b%5b2J/invoke", bedrock(FormatBedrockInvoke, "", false)},
		{"POST", "bedrock-runtime.us-east-1.amazonaws.com", "/model/m/count-tokens", none},
		{"POST", "bedrock-runtime.nowhere.amazonaws.com", "/model/m/invoke", none},
		{"POST", "mine.openai.azure.com", "/openai/deployments/my-gpt/chat/completions?api-version=1", azure},
		{"POST", "mine.openai.azure.com", "/openai/v1/responses", at("azure", responses)},
		{"POST", "mine.services.ai.azure.com", "/openai/deployments/my-gpt/chat/completions", azure},
		{"POST", "mine.services.ai.azure.com", "/api/projects/p/openai/v1/responses", at("azure", responses)},
		{"POST", "mine.cognitiveservices.azure.com", "/openai/deployments/my-gpt/chat/completions", azure},
		{"POST", "router.huggingface.co", "/v1/chat/completions", at("huggingface", chat)},
		{"POST", "router.huggingface.co", "/together/v1/chat/completions", at("huggingface", chat)},
		{"POST", "router.huggingface.co", "/novita/v3/openai/chat/completions", at("huggingface", chat)},
		{"POST", "router.huggingface.co", "/hf-inference/models/Qwen/Qwen3-32B/v1/chat/completions", at("huggingface", chat)},
		{"post", "api.openai.com", "/v1/chat/completions", at("openai", chat)},
		{"POST", "x.mine.openai.azure.com", "/openai/v1/responses", none},
		{"POST", ".openai.azure.com", "/openai/v1/responses", none},
	} {
		got, ok := Lookup(tt.method, tt.host, tt.path)
		if got != tt.want || ok != (tt.want != none) {
			t.Errorf("Lookup(%q, %q, %q) = %+v, %v; want %+v", tt.method, tt.host, tt.path, got, ok, tt.want)
		}
	}
}

func TestHosts(t *testing.T) {
	hosts := Hosts()
	for _, host := range []string{
		"api.anthropic.com", "api.openai.com", "chatgpt.com", "generativelanguage.googleapis.com",
		"cloudcode-pa.googleapis.com", "api.x.ai", "api.groq.com", "api.mistral.ai", "api.deepseek.com",
		"openrouter.ai", "bedrock-runtime.us-east-1.amazonaws.com", "us-central1-aiplatform.googleapis.com",
		"aiplatform.googleapis.com",
	} {
		if !slices.Contains(hosts, host) {
			t.Errorf("Hosts() lacks %s", host)
		}
	}
	if !slices.IsSorted(hosts) {
		t.Errorf("Hosts() = %q is not sorted", hosts)
	}
	for _, domain := range azureDomains {
		i := slices.Index(hosts, domain)
		if i < 0 || IsMetered(domain, 443) || !IsMetered("mine."+domain, 443) || IsMetered("mine."+domain, 80) || IsMetered("x.mine."+domain, 443) {
			t.Errorf("Hosts() or IsMetered is wrong about what is below %s", domain)
			continue
		}
		hosts = slices.Delete(hosts, i, i+1)
	}
	for _, host := range hosts {
		if !IsMetered(host, 443) || IsMetered(host, 80) || IsMetered("x."+host, 443) {
			t.Errorf("IsMetered is wrong about %s", host)
		}
		// A root that vouches for a name vouches for all below it.
		for _, domain := range []string{"amazonaws.com", "api.aws", "googleapis.com", "azure.com"} {
			if host == domain || strings.HasSuffix(domain, "."+host) || strings.ContainsAny(host, "*/: ") {
				t.Errorf("%q is no host to vouch for", host)
			}
		}
	}
	if IsMetered("mine.cognitiveservices.azure.com", 443) {
		t.Error("a host that is not in Hosts() is metered")
	}
}

// TestFormats checks that each service speaks a format that has a parser.
func TestFormats(t *testing.T) {
	for _, s := range services {
		for _, r := range s.routes {
			if r.format != unmetered && !slices.Contains(Formats(), r.format) {
				t.Errorf("%s%s%s: format %q", s.host, s.prefix, r.path, r.format)
			}
			if r.kind == "" || r.method == "" || s.provider == "" || !strings.HasPrefix(s.prefix+r.path, "/") {
				t.Errorf("%s%s%s: %+v", s.host, s.prefix, r.path, r)
			}
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	for _, f := range Formats() {
		if _, unknown := (Endpoint{Format: f}).NewParser().(*unknownFormat); unknown {
			t.Errorf("%s has no parser", f)
		}
	}
	p := Endpoint{Format: "carrier-pigeon"}.NewParser()
	p.Request([]byte(`{"model":"m"}`))
	p.Event("", []byte(`{}`))
	p.Body(500, []byte(`x`))
	got := p.Result(true)
	if got.Usage != nil || got.Complete || got.Reason == "" || got.Model != "m" || got.ErrorClass != "server_error" {
		t.Errorf("%+v", got)
	}
}
