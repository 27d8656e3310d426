package provider

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
)

// maxAsked bounds the requests of one WebSocket that wait for their answer.
// OpenAI answers one after the other and lets a client ask ahead; one that
// asks this far ahead is not answered at all.
const maxAsked = 1024

// A Dialog reads the messages of a WebSocket that carries many responses. It
// is not safe for concurrent use and never panics, whatever it is fed.
type Dialog interface {
	// Ask takes a message of the client. If the message asks for a response,
	// Ask returns the response's parser, which has taken the request, else
	// nil.
	Ask(message []byte) Parser
	// Answer takes a message of the provider. It returns the parser of the
	// response to which the message belongs, after that has taken it, or nil
	// if it belongs to none; the parser is one that Ask has not returned if
	// the provider began the response by itself. Its second result reports
	// whether the message was the response's last.
	Answer(message []byte) (p Parser, last bool)
}

// NewDialog returns the reader of a WebSocket at the endpoint, whose Socket is
// set.
func (e Endpoint) NewDialog() Dialog { return &openaiDialog{endpoint: e} }

// ProviderBegins reports whether on a WebSocket at the endpoint the provider
// begins responses by itself: Realtime answers when the user has stopped
// speaking, and most of the client's messages are pieces of sound.
func (e Endpoint) ProviderBegins() bool { return e.Format == FormatOpenAIRealtime }

// openaiDialog reads the WebSockets of OpenAI's Responses API, which Codex and
// xAI use too, and of its Realtime API. The messages are JSON objects with a
// type: the client's response.create asks, and the provider's are the events
// of a Responses stream, or look like them. See
// https://developers.openai.com/api/docs/guides/websocket-mode,
// https://docs.x.ai/developers/advanced-api-usage/websocket-mode and
// https://developers.openai.com/api/docs/guides/realtime-conversations.
type openaiDialog struct {
	endpoint Endpoint
	// model, and the one that writes down what the user says, are in the
	// session of a Realtime socket; there, neither the requests nor the
	// responses name one.
	model, transcriber string
	turns              []*openaiTurn
}

// openaiTurn is a response that is asked for and not over. The parser holds
// the id once the response has begun.
type openaiTurn struct {
	openaiResponses
	event    string // the id of the client's message
	prefetch bool
}

// Ask implements Dialog.
func (d *openaiDialog) Ask(message []byte) Parser {
	var t openaiTurn
	asks := false
	var nested []byte
	fields(message, func(key, value []byte) {
		switch string(key) {
		case "type":
			asks = text(value) == "response.create"
		case "event_id":
			t.event = text(value)
		case "response": // Realtime's wishes
			nested = value
		case "generate":
			t.prefetch = string(value) == "false"
		}
	})
	if !asks || len(d.turns) >= maxAsked {
		return nil
	}
	t.exchange = exchange{requested: cmp.Or(d.model, d.endpoint.Model)}
	t.Request(message)
	if nested != nil {
		t.Request(nested)
	}
	t.stream = true
	d.turns = append(d.turns, &t)
	return &t
}

// Answer implements Dialog.
func (d *openaiDialog) Answer(message []byte) (p Parser, last bool) {
	kind := text(member(message, "type"))
	switch kind {
	case "session.created", "session.updated":
		d.readSession(member(message, "session"))
		return nil, false
	case "conversation.item.input_audio_transcription.completed":
		return d.transcribed(message)
	case "error":
		return d.fail(message)
	case "response.created", "response.queued", "response.in_progress",
		"response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done":
	default:
		return d.piece(kind), false
	}
	i := d.find(member(message, "response"), kind)
	if i < 0 {
		return nil, false
	}
	t := d.turns[i]
	if kind == "response.done" {
		t.done(member(message, "response"))
		last = true
	} else {
		t.Event(kind, message)
		last = kind == "response.completed" || kind == "response.incomplete" ||
			kind == "response.failed" || kind == "response.cancelled"
	}
	if last {
		d.turns = slices.Delete(d.turns, i, i+1)
	}
	return t, last
}

// find returns the turn of a response: the one that bears its id, or the first
// that bears none. A response that nobody asked for is a new turn as long as
// it is not over.
func (d *openaiDialog) find(response []byte, kind string) int {
	id := text(member(response, "id"))
	i := slices.IndexFunc(d.turns, func(t *openaiTurn) bool { return id != "" && t.id == id })
	if i < 0 {
		i = slices.IndexFunc(d.turns, func(t *openaiTurn) bool { return t.id == "" })
	}
	if i < 0 && len(d.turns) < maxAsked && (kind == "response.created" || kind == "response.done") {
		i = len(d.turns)
		t := &openaiTurn{}
		t.exchange = exchange{requested: cmp.Or(d.model, d.endpoint.Model), stream: true}
		d.turns = append(d.turns, t)
	}
	return i
}

func (d *openaiDialog) readSession(session []byte) {
	d.model = cmp.Or(text(member(session, "model")), d.model)
	t := member(member(member(session, "audio"), "input"), "transcription")
	if t == nil {
		t = member(session, "input_audio_transcription")
	}
	d.transcriber = cmp.Or(text(member(t, "model")), d.transcriber)
}

// transcribed takes the text of what the user said, which another model wrote
// and which is billed by itself.
func (d *openaiDialog) transcribed(message []byte) (p Parser, last bool) {
	if !d.endpoint.ProviderBegins() || member(message, "usage") == nil {
		return nil, false
	}
	t := &openaiTurn{}
	t.exchange = exchange{requested: d.transcriber, stream: true}
	t.ended = t.readResponse(200, message)
	return t, true
}

// piece finds the turn of what comes between a response's begin and its end:
// the one that has begun. It tells nothing but that the response goes on.
func (d *openaiDialog) piece(kind string) Parser {
	if len(kind) < len("response.") || kind[:len("response.")] != "response." || len(d.turns) == 0 {
		return nil
	}
	return d.turns[0]
}

// fail takes an error. It ends the response for which it says that it came: on
// a Realtime socket that is the client's message; on a Responses socket, which
// answers in turn, the oldest that is open. There the error may bear the
// status that it would have had over HTTP.
func (d *openaiDialog) fail(message []byte) (p Parser, last bool) {
	e := member(message, "error")
	i := 0
	if d.endpoint.ProviderBegins() {
		event := text(member(e, "event_id"))
		i = slices.IndexFunc(d.turns, func(t *openaiTurn) bool { return event != "" && t.event == event })
	}
	if i < 0 || i >= len(d.turns) {
		return nil, false
	}
	t := d.turns[i]
	d.turns = slices.Delete(d.turns, i, i+1)
	status := member(message, "status")
	if status == nil {
		status = member(message, "status_code")
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(status)))
	if err != nil || n < 400 || n > 599 {
		n = 200
	}
	if e != nil && !isNull(e) {
		t.openaiResponses.fail(n, e)
	} else {
		t.failAs(n, member(message, "code"), "")
	}
	return t, true
}

// done takes the last event of a Realtime response. Its status tells how it
// went, and the reason lies beside that.
func (t *openaiTurn) done(response []byte) {
	t.stream = true
	t.ended = t.readResponse(200, response)
	if e := member(member(response, "status_details"), "error"); t.response.status == "failed" && e != nil {
		t.openaiResponses.fail(200, e)
	}
}

// Result implements Parser.
func (t *openaiTurn) Result(eof bool) Result {
	if !t.ended {
		t.response.status = "" // there is no other request that could tell more
	}
	r := t.openaiResponses.Result(eof)
	// What a prefetch wrote to the cache is billed with what reads it: a
	// request that generates nothing and names no usage was no call.
	r.Prefetch = t.prefetch && r.ErrorClass == "" && (r.Usage == nil || r.Usage.Prompt()+r.Usage.Output == 0)
	return r
}
