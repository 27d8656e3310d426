package provider

import (
	"bytes"
	"strings"
)

// OpenAI's streams of chat completions name their usage only if the request
// asks for it, and most clients do not: 98 of 126 recorded streams lack it. What
// is here asks in their stead, and takes out of the answer what that adds to
// it: one chunk without choices before the end, and a "usage":null in every
// other chunk. See
// https://platform.openai.com/docs/api-reference/chat/create, "stream_options".

// HidesUsage reports whether streams at the endpoint name their usage only if
// the request asks for it, and the provider is known to understand that. Others
// name it unasked, or refuse a request that asks.
func (e Endpoint) HidesUsage() bool {
	return e.Provider == "openai" && e.Format == FormatOpenAIChat && e.Kind == KindChat
}

// IncludeUsage returns the request for a stream, changed to ask for its usage.
// It reports false for anything else: no stream, no whole JSON object, or a
// client that chose its own stream_options, whatever they say.
func IncludeUsage(request []byte) (asking []byte, ok bool) {
	stream, chosen, members := false, false, false
	whole := fields(request, func(key, value []byte) {
		members = true
		switch string(key) {
		case "stream":
			stream = isTrue(value)
		case "stream_options":
			chosen = true
		}
	})
	if !whole || !members || !stream || chosen {
		return nil, false
	}
	open := bytes.IndexByte(request, '{') + 1
	asking = make([]byte, 0, len(request)+len(askForUsage))
	asking = append(asking, request[:open]...)
	asking = append(asking, askForUsage...)
	return append(asking, request[open:]...), true
}

const askForUsage = `"stream_options":{"include_usage":true},`

// WithoutUsage takes out of an event's data what is there only because of
// IncludeUsage. It reports false if all of the event is.
func WithoutUsage(data []byte) (rest []byte, keep bool) {
	var usage []byte
	choices, empty := false, true
	whole := fields(data, func(key, value []byte) {
		switch string(key) {
		case "choices":
			choices = true
			elements(value, func([]byte) { empty = false })
		case "usage":
			usage = value
		}
	})
	switch {
	case !whole || usage == nil:
		return data, true
	case isNull(usage):
		return withoutMember(data, usage), true
	}
	return data, !choices || !empty
}

// withoutMember is the object without the member "usage" that has this value,
// which is a slice of data: their capacities end at the same place.
func withoutMember(data, value []byte) []byte {
	end := cap(data) - cap(value) + len(value)
	start := strings.LastIndex(string(data[:end]), `"usage"`)
	if start < 0 {
		return data // spelt with escapes
	}
	if next := skipSpace(data, end); next < len(data) && data[next] == ',' {
		end = next + 1
	} else {
		start = len(bytes.TrimRight(data[:start], " \t\r\n"))
		start = max(start-len(","), 0)
		if data[start] != ',' {
			start++ // it was alone
		}
	}
	return append(bytes.Clone(data[:start]), data[end:]...)
}
