package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
)

func TestClassifyError(t *testing.T) {
	for _, tt := range []struct {
		status    int
		code      string
		transport error
		want      string
	}{
		{status: 200, want: ""},
		{status: 304, want: ""},
		{status: 400, code: "invalid_request_error", want: "bad_request"},
		{status: 401, code: "authentication_error", want: "auth"},
		{status: 402, want: "auth"},
		{status: 403, code: "permission_error", want: "auth"},
		{status: 403, code: "unsupported_country_region_territory", want: "bad_request"},
		{status: 404, code: "not_found_error", want: "bad_request"},
		{status: 408, want: "timeout"},
		{status: 413, code: "request_too_large", want: "bad_request"},
		{status: 429, code: "rate_limit_error", want: "rate_limit"},
		{status: 429, code: "something_new", want: "rate_limit"},
		{status: 429, code: "insufficient_quota", want: "auth"},
		{status: 500, code: "api_error", want: "server_error"},
		{status: 503, want: "server_error"},
		{status: 504, code: "timeout_error", want: "timeout"},
		{status: 529, code: "overloaded_error", want: "server_error"},
		{status: 200, code: "overloaded_error", want: "server_error"},
		{status: 200, code: "rate_limit_exceeded", want: "rate_limit"},
		{status: 200, code: "something_new", want: "unknown"},
		{status: 999, want: "unknown"},
		{want: "unknown"},
		{transport: context.DeadlineExceeded, want: "timeout"},
		{transport: fmt.Errorf("read: %w", &net.OpError{Op: "read", Err: timeoutError{}}), want: "timeout"},
		{transport: io.ErrUnexpectedEOF, want: "network"},
		{transport: errors.New("connection refused"), want: "network"},
		{status: 200, transport: io.ErrUnexpectedEOF, want: "network"},
	} {
		if got := ClassifyError(tt.status, tt.code, tt.transport); got != tt.want {
			t.Errorf("ClassifyError(%d, %q, %v) = %q, want %q", tt.status, tt.code, tt.transport, got, tt.want)
		}
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

func TestErrorBodies(t *testing.T) {
	for _, tt := range []struct {
		format      Format
		status      int
		body        string
		class, code string
	}{
		{FormatAnthropicMessages, 404, `{"type":"error","error":{"type":"not_found_error","message":"model: x"}}`, "bad_request", "not_found_error"},
		{FormatAnthropicMessages, 529, `{"type":"error","error":{"type":"overloaded_error"}}`, "server_error", "overloaded_error"},
		{FormatAnthropicMessages, 502, `<html>Bad Gateway</html>`, "server_error", ""},
		{FormatOpenAIChat, 429, `{"error":{"message":"m","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`, "auth", "insufficient_quota"},
		{FormatOpenAIChat, 429, `{"error":{"type":"tokens","code":"rate_limit_exceeded"}}`, "rate_limit", "rate_limit_exceeded"},
		{FormatOpenAIResponses, 401, `{"error":{"type":"invalid_request_error","code":"invalid_api_key"}}`, "auth", "invalid_api_key"},
		{FormatOpenAIResponses, 400, `{"error":{"type":"invalid_request_error","code":null}}`, "bad_request", "invalid_request_error"},
		{FormatOpenAIResponses, 200, `{"status":"failed","error":{"code":400,"type":"server_error"}}`, "server_error", "server_error"},
		{FormatOpenAIResponses, 500, ``, "server_error", ""},
		{FormatOpenAIChat, 400, `{"object":"error","message":"Invalid model: x","type":"invalid_model","param":null,"code":"1500"}`, "bad_request", "1500"},
		{FormatOpenAIChat, 422, `{"object":"error","message":{"detail":[]},"type":"invalid_request_error","code":null}`, "bad_request", "invalid_request_error"},
		{FormatOpenAIChat, 400, `{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xx"}`, "bad_request", "Client specified an invalid argument"},
		{FormatOpenAIResponses, 404, `{"code":"not-found","error":"The model x does not exist"}`, "bad_request", "not-found"},
		{FormatOpenAIChat, 401, `{"detail":"Unauthorized"}`, "auth", ""},
	} {
		p := Endpoint{Format: tt.format}.NewParser()
		p.Body(tt.status, []byte(tt.body))
		got := p.Result(true)
		if got.ErrorClass != tt.class || got.ErrorCode != tt.code || got.Usage != nil || got.Complete || got.Reason == "" {
			t.Errorf("%s %d %s: %+v", tt.format, tt.status, tt.body, got)
		}
	}
}

func TestErrorCodeOf(t *testing.T) {
	for field, want := range map[string]string{
		"":                    "",
		"ThrottlingException": "ThrottlingException",
		"ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/": "ValidationException",
		"\x1b[2J": "",
	} {
		if got := ErrorCodeOf(http.Header{"X-Amzn-Errortype": {field}}); got != want {
			t.Errorf("ErrorCodeOf(%q) = %q, want %q", field, got, want)
		}
	}
}
