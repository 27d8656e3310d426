package provider

import (
	"net/http"
	"slices"
	"strings"
)

// services is the table of everything metered. A provider that speaks a known
// format is one line here.
var services = slices.Concat(
	[]service{
		{"anthropic", "api.anthropic.com", "/v1", anthropicRoutes},
		{"openai", "api.openai.com", "/v1", openaiRoutes},
		// Codex with a ChatGPT login.
		{"openai", "chatgpt.com", "/backend-api/codex", responsesRoutes},
		{"google", "generativelanguage.googleapis.com", "/v1*", geminiRoutes},
		{"google", "generativelanguage.googleapis.com", "/v1*/openai", geminiChatRoutes},
		// Gemini Code Assist: Gemini CLI with a Google login, and IDEs.
		{"google", "cloudcode-pa.googleapis.com", "", codeAssistRoutes},
		{"google", "daily-cloudcode-pa.googleapis.com", "", codeAssistRoutes},
		{"xai", "api.x.ai", "/v1", xaiRoutes},
		{"groq", "api.groq.com", "/openai/v1", openaiRoutes},
		{"mistral", "api.mistral.ai", "/v1", mistralRoutes},
		{"mistral", "codestral.mistral.ai", "/v1", mistralRoutes},
		{"deepseek", "api.deepseek.com", "", deepseekRoutes},
		{"deepseek", "api.deepseek.com", "/v1", deepseekRoutes},
		{"deepseek", "api.deepseek.com", "/beta", deepseekRoutes},
		{"deepseek", "api.deepseek.com", "/anthropic/v1", anthropicRoutes},
		{"openrouter", "openrouter.ai", "/api/v1", gatewayRoutes},
		{"vercel", "ai-gateway.vercel.sh", "/v1", gatewayRoutes},
		{"perplexity", "api.perplexity.ai", "", chatRoutes},
		{"cerebras", "api.cerebras.ai", "/v1", chatRoutes},
		{"huggingface", "router.huggingface.co", "/v1", chatRoutes},
		// One of its partners by name, beneath the partner's own paths.
		{"huggingface", "router.huggingface.co", "/*/v1", chatRoutes},
		{"huggingface", "router.huggingface.co", "/*/openai/v1", chatRoutes},
		{"huggingface", "router.huggingface.co", "/*/inference/v1", chatRoutes},
		{"huggingface", "router.huggingface.co", "/*/v3/openai", chatRoutes},
		{"huggingface", "router.huggingface.co", "/*/compatibility/v1", chatRoutes},
		{"huggingface", "router.huggingface.co", "/hf-inference/models/*/*/v1", chatRoutes},
		{"moonshot", "api.moonshot.ai", "/v1", chatRoutes},
		{"moonshot", "api.moonshot.ai", "/anthropic/v1", anthropicRoutes},
		{"cohere", "api.cohere.com", "", cohereRoutes},
		{"cohere", "api.cohere.com", "/compatibility/v1", chatRoutes},
		{"ollama", "ollama.com", "", ollamaRoutes},
		{"ollama", "ollama.com", "/v1", chatRoutes},
		{"zai", "api.z.ai", "/api/paas/v4", chatRoutes},
		{"zai", "api.z.ai", "/api/coding/paas/v4", chatRoutes},
		{"zai", "api.z.ai", "/api/anthropic/v1", anthropicRoutes},
	},
	azureServices,
	regional("aws", "bedrock-runtime.*.amazonaws.com", awsRegions, "", bedrockRoutes),
	regional("aws", "bedrock-mantle.*.api.aws", mantleRegions, "/v1", openaiRoutes),
	regional("aws", "bedrock-mantle.*.api.aws", mantleRegions, "/openai/v1", openaiRoutes),
	regional("aws", "bedrock-mantle.*.api.aws", mantleRegions, "/anthropic/v1", anthropicRoutes),
	regional("google", "*aiplatform.googleapis.com", vertexRegions, "/v1*", vertexRoutes),
	regional("google", "aiplatform.*.rep.googleapis.com", []string{"us", "eu"}, "/v1*", vertexRoutes),
)

// regional lists a service once for each region, which takes the place of the
// "*" in the host's name.
func regional(provider, host string, regions []string, prefix string, routes []route) []service {
	var list []service
	for _, region := range regions {
		list = append(list, service{provider, strings.Replace(host, "*", region, 1), prefix, routes})
	}
	return list
}

// anthropicRoutes leaves out messages/count_tokens, which is free.
var anthropicRoutes = []route{
	post("/messages", FormatAnthropicMessages, KindChat),
	{method: http.MethodGet, path: "/messages/batches/*/results", format: FormatAnthropicBatch, kind: KindChat, retrieve: true},
}

var chatRoutes = []route{
	post("/chat/completions", FormatOpenAIChat, KindChat),
	post("/completions", FormatOpenAIChat, KindChat),
	post("/embeddings", FormatOpenAIChat, KindEmbedding),
}

var responsesRoutes = []route{
	post("/responses", FormatOpenAIResponses, KindChat),
	post("/responses/compact", FormatOpenAIResponses, KindChat),
	// The answer to a background request names no usage; this one does.
	{method: http.MethodGet, path: "/responses/*", format: FormatOpenAIResponses, kind: KindChat, retrieve: true},
	{method: http.MethodGet, path: "/responses", format: FormatOpenAIResponses, kind: KindChat, stream: true, socket: true},
}

var mediaRoutes = []route{
	post("/images/generations", FormatOpenAIChat, KindImage),
	post("/images/edits", FormatOpenAIChat, KindImage),
	post("/images/variations", FormatOpenAIChat, KindImage),
	post("/audio/transcriptions", FormatOpenAIChat, KindAudio),
	post("/audio/translations", FormatOpenAIChat, KindAudio),
	post("/audio/speech", FormatOpenAIChat, KindAudio),
}

var openaiRoutes = slices.Concat(chatRoutes, responsesRoutes, mediaRoutes, []route{
	{method: http.MethodGet, path: "/realtime", format: FormatOpenAIRealtime, kind: KindAudio, stream: true, socket: true},
})

var gatewayRoutes = slices.Concat(openaiRoutes, anthropicRoutes)

var xaiRoutes = slices.Concat(openaiRoutes, anthropicRoutes, []route{
	// A deferred completion is answered with its id, and its usage later.
	{method: http.MethodGet, path: "/chat/deferred-completion/*", format: FormatOpenAIChat, kind: KindChat, retrieve: true},
})

var mistralRoutes = slices.Concat(chatRoutes, []route{
	post("/fim/completions", FormatOpenAIChat, KindChat),
	post("/agents/completions", FormatOpenAIChat, KindChat),
	post("/audio/transcriptions", FormatOpenAIChat, KindAudio),
})

var deepseekRoutes = slices.Concat(chatRoutes, responsesRoutes)

var cohereRoutes = []route{
	post("/v2/chat", FormatCohere, KindChat),
	post("/v1/chat", FormatCohere, KindChat),
	post("/v2/embed", FormatCohere, KindEmbedding),
	post("/v1/embed", FormatCohere, KindEmbedding),
	post("/v2/rerank", FormatCohere, KindOther),
	post("/v1/rerank", FormatCohere, KindOther),
}

var ollamaRoutes = []route{
	post("/api/chat", FormatOllama, KindChat),
	post("/api/generate", FormatOllama, KindChat),
	post("/api/embed", FormatOllama, KindEmbedding),
}

// geminiMethods are a model's methods. countTokens is free, and has its row.
func geminiMethods(models string) []route {
	stream := post(models+"/{model}:streamGenerateContent", FormatGemini, KindChat)
	stream.stream = true
	return []route{
		post(models+"/{model}:generateContent", FormatGemini, KindChat),
		stream,
		post(models+"/{model}:embedContent", FormatGemini, KindEmbedding),
		post(models+"/{model}:batchEmbedContents", FormatGemini, KindEmbedding),
		post(models+"/{model}:countTokens", FormatGemini, KindOther),
	}
}

var geminiRoutes = slices.Concat(geminiMethods("/models"), geminiMethods("/tunedModels"))

var geminiChatRoutes = []route{
	post("/chat/completions", FormatGeminiChat, KindChat),
	post("/embeddings", FormatOpenAIChat, KindEmbedding),
	post("/images/generations", FormatOpenAIChat, KindImage),
}

var codeAssistRoutes = []route{
	post("/v1internal:generateContent", FormatGemini, KindChat),
	{method: http.MethodPost, path: "/v1internal:streamGenerateContent", format: FormatGemini, kind: KindChat, stream: true},
}
