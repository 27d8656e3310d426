package provider

import "cmp"

// openaiResponses reads OpenAI's Responses API, as JSON and as a stream. See
// https://platform.openai.com/docs/api-reference/responses and
// https://platform.openai.com/docs/api-reference/responses-streaming.
//
// Every lifecycle event of a stream bears the whole response as it then is;
// the usage is in the one that ends it: response.completed, .incomplete or
// .failed. A background response is answered at once, without usage, and
// names it when it is retrieved later.
type openaiResponses struct {
	exchange
	response openaiResponse
	// ended: the response reached its own end.
	ended bool
}

// openaiResponse is what is known of a response object.
type openaiResponse struct {
	usage  Usage
	named  bool
	status string
	// calls counts the output's billed calls by name, and searches what
	// tool_usage says of web searches, -1 if it says nothing.
	calls    map[string]int64
	searches int64
	// counted: the usage itself counts the billed calls, as xAI's does.
	counted bool
}

// Request implements Parser.
func (p *openaiResponses) Request(body []byte) { p.readRequest(body, nil) }

// Event implements Parser.
func (p *openaiResponses) Event(name string, data []byte) {
	switch eventKind(name, data) {
	case "response.created", "response.queued", "response.in_progress":
		p.stream = true
		if !p.ended {
			p.readResponse(200, member(data, "response"))
		}
	case "response.completed", "response.incomplete", "response.failed", "response.cancelled":
		p.stream = true
		p.ended = p.readResponse(200, member(data, "response"))
	case "error":
		if e := member(data, "error"); e != nil && !isNull(e) {
			p.fail(200, e)
			return
		}
		// The API's own event has the code at its top, beside its type.
		p.failAs(200, member(data, "code"), "")
	}
}

// Body implements Parser.
func (p *openaiResponses) Body(status int, body []byte) {
	p.ended = p.readResponse(status, body)
	if status >= 400 && p.errorCode == "" {
		// Mistral and xAI have the code at the top, xAI beside a text "error".
		p.fail(status, body)
	}
}

// readResponse reads a response object, and reports whether it was whole.
func (p *openaiResponses) readResponse(status int, object []byte) bool {
	r := openaiResponse{searches: -1}
	whole := fields(object, func(key, value []byte) {
		switch string(key) {
		case "id":
			p.id = cmp.Or(text(value), p.id)
		case "model":
			p.model = cmp.Or(text(value), p.model)
		case "service_tier":
			p.tier = cmp.Or(text(value), p.tier)
		case "status":
			r.status = text(value)
		case "error":
			if !isNull(value) {
				p.fail(status, value)
			}
		case "output":
			elements(value, r.countCall)
		case "tool_usage":
			if n := member(member(value, "web_search"), "num_requests"); n != nil {
				p.count(&r.searches, "num_requests", n)
			}
		case "usage":
			if isNull(value) || !p.keepRaw(value) {
				return
			}
			r.usage, r.named = openaiUsage(&p.exchange, value)
			r.counted = member(value, "server_side_tool_usage_details") != nil
		}
	})
	p.thinking = p.thinking || r.usage.Thinking > 0
	p.response = r
	return whole
}

// countCall counts an output item that is billed by the call. A web search
// item is billed if it searched: opening a page, or finding a text in it, is
// free. An image's price is not in the usage at all, so its call is counted
// for the cost to be known as unknown. The fee of a code interpreter belongs
// to its container, which outlives the response.
func (r *openaiResponse) countCall(item []byte) {
	var name string
	switch text(member(item, "type")) {
	case "web_search_call":
		if action := text(member(member(item, "action"), "type")); action != "" && action != "search" {
			return
		}
		name = "web_search"
	case "file_search_call":
		name = "file_search"
	case "image_generation_call":
		name = "image_generation"
	default:
		return
	}
	if r.calls == nil {
		r.calls = make(map[string]int64)
	}
	r.calls[name]++
}

// Result implements Parser.
func (p *openaiResponses) Result(bool) Result {
	x, r := p.exchange, p.response
	if !r.named {
		switch {
		case r.status == "queued" || r.status == "in_progress":
			return x.result(nil, false, "the response was still "+r.status+": its usage comes with a later one")
		case p.errorClass != "":
			return x.result(nil, false, "the provider answered with an error")
		case p.ended:
			return x.result(nil, false, "the provider sent no usage")
		}
		return x.result(nil, false, "the response broke off before its usage")
	}
	charges := addCharge(nil, cmp.Or(x.model, x.requested), r.usage)
	u := &charges[0].Usage
	for name, n := range r.calls {
		if r.counted || name == "web_search" && r.searches >= 0 {
			continue
		}
		u.addToolCalls(name, n)
	}
	u.addToolCalls("web_search", r.searches)
	return x.result(charges, p.ended, "the response broke off before its last count")
}
