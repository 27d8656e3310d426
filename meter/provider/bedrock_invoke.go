package provider

import (
	"encoding/json"
	"net/http"
	"strings"
)

// bedrockInvoke reads Amazon Bedrock's InvokeModel API. A body is the model's
// own; the events of a stream hold the chunks of the model's own stream, and
// the last one bears Bedrock's invocation metrics too. See
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html.
//
// Claude's usage and OpenAI's are read as they are elsewhere, except that the
// model is the path's, which is billed. Of other models the counts are known:
//
//	Nova        usage.inputTokens, usage.outputTokens
//	Llama       prompt_token_count, generation_token_count
//	Titan       inputTextTokenCount, results[].tokenCount
//	any stream  amazon-bedrock-invocationMetrics
//	any other   the header's X-Amzn-Bedrock-Input-Token-Count and
//	            -Output-Token-Count, where the body names nothing
type bedrockInvoke struct {
	exchange
	claude anthropicMessages
	chat   openaiChat
	// inner is the one of the two that the response speaks to, if any.
	inner   Parser
	counts  bedrockCounts
	metrics bedrockCounts
	header  http.Header
	ended   bool
}

func newBedrockInvoke(x exchange) *bedrockInvoke {
	return &bedrockInvoke{exchange: x, claude: anthropicMessages{exchange: x}, chat: openaiChat{exchange: x}}
}

// Request implements Parser.
func (p *bedrockInvoke) Request(body []byte) {
	p.readRequest(body, nil)
	p.claude.Request(body)
	p.chat.Request(body)
}

// Event implements Parser.
func (p *bedrockInvoke) Event(name string, data []byte) {
	p.stream = true
	if strings.HasSuffix(name, "Exception") {
		p.failAs(200, nil, name)
		return
	}
	var chunk []byte // encoding/json reads a text in base64 into bytes
	if name != "chunk" || json.Unmarshal(member(data, "bytes"), &chunk) != nil {
		return
	}
	kind := text(member(chunk, "type"))
	switch {
	case strings.HasPrefix(kind, "message_") || strings.HasPrefix(kind, "content_block_") || kind == "error":
		p.inner = &p.claude
		p.claude.Event(kind, chunk)
	case member(chunk, "choices") != nil:
		p.inner = &p.chat
		p.chat.Event("", chunk)
	}
	p.readObject(chunk)
}

// Body implements Parser.
func (p *bedrockInvoke) Body(status int, body []byte) {
	if status >= 400 {
		p.fail(status, nil)
		return
	}
	usage := member(body, "usage")
	switch {
	case member(usage, "input_tokens") != nil:
		p.inner = &p.claude
	case member(usage, "prompt_tokens") != nil:
		p.inner = &p.chat
	}
	if p.inner != nil {
		p.inner.Body(status, body)
	}
	p.ended = p.readObject(body)
}

// bedrockCountFields are the fields of InvokeModel's header that count tokens.
var bedrockCountFields = []string{"X-Amzn-Bedrock-Input-Token-Count", "X-Amzn-Bedrock-Output-Token-Count"}

// Header implements HeaderParser.
func (p *bedrockInvoke) Header(h http.Header) { p.header = h }

// readHeader reads the header's counts, and reports whether there are any.
func (p *bedrockInvoke) readHeader() bool {
	c := &p.counts
	for i, n := range []*int64{&c.input, &c.output} {
		field := bedrockCountFields[i]
		c.named = p.count(n, field, []byte(p.header.Get(field))) || c.named
	}
	return c.named
}

// readObject reads what models other than Claude and OpenAI's say, and
// Bedrock's metrics.
func (p *bedrockInvoke) readObject(object []byte) bool {
	// What is billed is the path's model, wherever the body names another.
	p.claude.model, p.chat.model = "", ""
	x, c := &p.exchange, &p.counts
	return fields(object, func(key, value []byte) {
		switch name := string(key); name {
		case "usage":
			if p.inner == nil && !isNull(value) && p.keepRaw(value) {
				c.readUsage(x, value)
			}
		case "metadata":
			p.readObject(value)
		case "prompt_token_count", "inputTextTokenCount":
			c.named = x.count(&c.input, name, value) || c.named
		case "generation_token_count", "totalOutputTextTokenCount":
			c.named = x.count(&c.output, name, value) || c.named
		case "results":
			elements(value, func(result []byte) {
				var n int64
				c.named = x.count(&n, "tokenCount", member(result, "tokenCount")) || c.named
				c.output = min(c.output+n, maxCount)
			})
		case "amazon-bedrock-invocationMetrics":
			p.readMetrics(value)
		}
	})
}

// readMetrics reads what Bedrock itself counted, at the end of a stream.
func (p *bedrockInvoke) readMetrics(value []byte) {
	x, m := &p.exchange, &p.metrics
	m.readUsage(x, value)
	m.named = x.count(&m.input, "inputTokenCount", member(value, "inputTokenCount"))
	m.named = x.count(&m.output, "outputTokenCount", member(value, "outputTokenCount")) || m.named
	p.ended = true
	if p.inner == nil {
		p.keepRaw(value)
	}
}

// Result implements Parser.
func (p *bedrockInvoke) Result(eof bool) Result {
	x := p.exchange
	if p.inner != nil {
		inner := &p.claude.exchange
		if p.inner == &p.chat {
			inner = &p.chat.exchange
		}
		if x.errorClass != "" {
			inner.errorClass, inner.errorCode = x.errorClass, x.errorCode
		}
		if r := p.inner.Result(eof); r.Usage != nil || !p.metrics.named {
			return r
		}
		return p.metrics.result(*inner, p.ended)
	}
	if p.metrics.named {
		return p.metrics.result(x, p.ended)
	}
	if !p.counts.named && x.errorClass == "" && p.readHeader() {
		return p.counts.result(p.exchange, true)
	}
	return p.counts.result(x, p.ended || eof && p.counts.named)
}
