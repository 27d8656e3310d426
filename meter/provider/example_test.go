package provider_test

import (
	"fmt"
	"log"
	"net/http"
	"slices"

	"github.com/haltonlabs/halton-meter/meter/provider"
)

func Example() {
	endpoint, ok := provider.Lookup("POST", "api.openai.com", "/v1/chat/completions")
	if !ok {
		return
	}
	p := endpoint.NewParser()
	p.Request([]byte(`{"model":"gpt-5","messages":[]}`))
	p.Body(200, []byte(`{"model":"gpt-5-2025-08-07","choices":[],
		"usage":{"prompt_tokens":1000,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":600}}}`))
	r := p.Result(true)
	fmt.Println(r.Model, r.Usage.Input, r.Usage.CacheRead, r.Usage.Output, r.Complete)
	// Output: gpt-5-2025-08-07 400 600 50 true
}

func ExampleParser_stream() {
	endpoint, _ := provider.Lookup("POST", "api.anthropic.com", "/v1/messages?beta=true")
	p := endpoint.NewParser()
	p.Request([]byte(`{"model":"claude-opus-4-8","stream":true}`))
	p.Event("message_start", []byte(`{"message":{"model":"claude-opus-4-8","usage":{"input_tokens":20,"output_tokens":1}}}`))
	r := p.Result(false)
	fmt.Println(r.Usage.Input, r.Usage.Output, r.Complete, r.Reason)
	// Output: 20 1 false the response broke off before its last count
}

func ExampleEndpoint() {
	for _, path := range []string{"/v1/messages", "/v1/messages/count_tokens"} {
		endpoint, ok := provider.Lookup("POST", "api.anthropic.com", path)
		fmt.Println(path, endpoint.Format, ok)
	}
	// Output:
	// /v1/messages anthropic-messages true
	// /v1/messages/count_tokens  false
}

func ExampleUsage() {
	u := provider.Usage{Input: 400, CacheRead: 600, CacheWrite1h: 100, Output: 50}
	fmt.Println(u.Prompt())
	// Output: 1100
}

func ExampleClassifyError() {
	fmt.Println(provider.ClassifyError(429, "rate_limit_exceeded"))
	fmt.Println(provider.ClassifyError(429, "insufficient_quota"))
	// Output:
	// rate_limit
	// auth
}

// An advisor's turn is billed at its own model.
func ExampleCharge() {
	endpoint, _ := provider.Lookup("POST", "api.anthropic.com", "/v1/messages")
	p := endpoint.NewParser()
	p.Body(200, []byte(`{"model":"claude-sonnet-5","usage":{"input_tokens":10,"output_tokens":5,"iterations":[
		{"type":"message","input_tokens":10,"output_tokens":5},
		{"type":"advisor_message","model":"claude-opus-5","input_tokens":100,"output_tokens":7}]}}`))
	r := p.Result(true)
	charges := append([]provider.Charge(nil), r.Charges...)
	for _, c := range charges {
		fmt.Println(c.Model, c.Usage.Input, c.Usage.Output)
	}
	// Output:
	// claude-sonnet-5 10 5
	// claude-opus-5 100 7
}

func ExampleMode() {
	endpoint, _ := provider.Lookup("POST", "api.anthropic.com", "/v1/messages")
	p := endpoint.NewParser()
	p.Request([]byte(`{"model":"claude-opus-4-8","thinking":{"type":"enabled","budget_tokens":1024}}`))
	r := p.Result(true)
	fmt.Println(endpoint.Kind == provider.Kind("chat"), r.Mode == provider.Mode("thinking"))
	// Output: true true
}

// OpenRouter names the cost of each exchange.
func ExampleReportedCost() {
	endpoint, _ := provider.Lookup("POST", "openrouter.ai", "/api/v1/chat/completions")
	p := endpoint.NewParser()
	p.Body(200, []byte(`{"model":"openai/gpt-4.1-mini","usage":{"prompt_tokens":16,"completion_tokens":2,"cost":1.4e-05}}`))
	cost := p.Result(true).ReportedCost
	fmt.Println(cost.NanoUSD, cost.Text)
	// Output: 14000 1.4e-05
}

// Gemini's model is in the path, and its thoughts are beside the candidates.
func ExampleLookup() {
	endpoint, _ := provider.Lookup("POST", "generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-flash:generateContent")
	p := endpoint.NewParser()
	p.Body(200, []byte(`{"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":9,"thoughtsTokenCount":34,"totalTokenCount":52}}`))
	r := p.Result(true)
	fmt.Println(endpoint.Provider, r.Model, r.Usage.Input, r.Usage.Output, r.Usage.Thinking)
	// Output: google gemini-2.5-flash 9 43 34
}

func ExampleFormats() {
	fmt.Println(provider.Formats())
	// Output: [anthropic-batch anthropic-messages bedrock-converse bedrock-invoke cohere gemini gemini-openai-chat ollama openai-chat openai-realtime openai-responses]
}

func ExampleBaseURL() {
	anthropic := provider.BaseURL{Prefix: "/anthropic", Host: "api.anthropic.com"}
	fmt.Println(slices.Contains(provider.BaseURLs(), anthropic))
	// Output: true
}

// A gateway that speaks OpenAI's format is one more host.
func ExampleTable() {
	table, err := provider.NewTable(provider.Host{
		Name: "llm.corp.example", Format: provider.FormatOpenAIChat, Provider: "corp", BaseURL: "/corp",
	})
	if err != nil {
		log.Fatal(err)
	}
	endpoint, ok := table.Lookup("POST", "llm.corp.example", "/team/v1/chat/completions")
	fmt.Println(ok, endpoint.Provider, endpoint.Format)
	// Output: true corp openai-chat
}

// Amazon Bedrock counts the tokens of some models in the header alone.
func ExampleHeaderParser() {
	e, _ := provider.Lookup("POST", "bedrock-runtime.us-east-1.amazonaws.com", "/model/cohere.embed-english-v3/invoke")
	p := e.NewParser()
	p.Request([]byte(`{"texts":["a"],"input_type":"search_document"}`))
	header := http.Header{"X-Amzn-Bedrock-Input-Token-Count": {"3"}}
	if h := provider.UsageHeader(header); h != nil {
		p.(provider.HeaderParser).Header(h)
	}
	p.Body(200, []byte(`{"embeddings":[[0.25]]}`))
	fmt.Println(p.Result(true).Usage.Input)
	// Output: 3
}

func ExampleDialog() {
	endpoint, _ := provider.Lookup("GET", "api.openai.com", "/v1/responses")
	fmt.Println("WebSocket:", endpoint.Socket)
	dialog := endpoint.NewDialog()
	dialog.Ask([]byte(`{"type":"response.create","model":"gpt-5","input":"hi"}`))
	response, last := dialog.Answer([]byte(`{"type":"response.completed","response":{"id":"resp_1","status":"completed","usage":{"input_tokens":8,"output_tokens":3}}}`))
	result := response.Result(last)
	fmt.Println(result.Model, result.ResponseID, result.Usage.Input, result.Usage.Output, result.Complete)
	// Output:
	// WebSocket: true
	// gpt-5 resp_1 8 3 true
}
