package provider

import (
	"cmp"
	"fmt"
)

// ollama reads Ollama's own API, as JSON and as lines of it, of which the last
// one, with done set, bears the counts. See
// https://github.com/ollama/ollama/blob/main/docs/api.md.
//
// A prompt that is still in the model's cache is not evaluated again, and not
// counted: there is no bill that it could be on.
type ollama struct {
	exchange
	usage              Usage
	named, done, whole bool
}

// Request implements Parser.
func (p *ollama) Request(body []byte) {
	p.stream = true // unless the request says otherwise
	p.readRequest(body, func(key, value []byte) {
		if string(key) == "think" {
			p.thinking = !isNull(value) && string(value) != "false"
		}
	})
}

// Event implements Parser.
func (p *ollama) Event(_ string, data []byte) { p.readObject(200, data) }

// Body implements Parser.
func (p *ollama) Body(status int, body []byte) {
	p.whole = p.readObject(status, body)
	if status >= 400 && p.errorClass == "" {
		p.fail(status, nil)
	}
}

// readObject reads an answer or a line of one, and reports whether it was
// whole.
func (p *ollama) readObject(status int, object []byte) bool {
	counted := false
	whole := fields(object, func(key, value []byte) {
		switch name := string(key); name {
		case "model":
			p.model = cmp.Or(text(value), p.model)
		case "done":
			p.done = p.done || isTrue(value)
		case "prompt_eval_count":
			counted = p.count(&p.usage.Input, name, value) || counted
		case "eval_count":
			counted = p.count(&p.usage.Output, name, value) || counted
		case "error":
			if !isNull(value) {
				p.fail(status, value)
			}
		}
	})
	if counted {
		p.named = true
		// The counts stand beside the answer, which is not to be kept.
		p.raw = fmt.Appendf(nil, `{"prompt_eval_count":%d,"eval_count":%d}`, p.usage.Input, p.usage.Output)
	}
	return whole
}

// Result implements Parser.
func (p *ollama) Result(bool) Result {
	x := p.exchange
	ended := p.done || p.whole
	if !p.named {
		switch {
		case p.errorClass != "":
			return x.result(nil, false, "the provider answered with an error")
		case ended:
			return x.result(nil, false, "the provider sent no usage")
		}
		return x.result(nil, false, "the response broke off before its usage")
	}
	charges := []Charge{{Model: cmp.Or(x.model, x.requested), Usage: p.usage}}
	return x.result(charges, ended && p.errorClass == "", "the response broke off before its last count")
}
