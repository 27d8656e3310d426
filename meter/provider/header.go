package provider

import (
	"net/http"
	"strings"
)

// HeaderParser is a Parser of a format that counts usage in the response's
// header too. Header takes what UsageHeader keeps of it, before Result.
type HeaderParser interface {
	Parser
	Header(h http.Header)
}

// UsageHeader returns a copy of what a HeaderParser needs of a response's
// header, for a caller that reads it later; nil if that is nothing.
func UsageHeader(h http.Header) http.Header {
	var kept http.Header
	for _, name := range bedrockCountFields {
		if v := h.Get(name); v != "" && len(v) <= maxField {
			if kept == nil {
				kept = http.Header{}
			}
			kept.Set(name, strings.Clone(v))
		}
	}
	return kept
}
