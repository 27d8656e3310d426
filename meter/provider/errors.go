package provider

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
)

// The seven error classes.
const (
	classRateLimit   = "rate_limit"
	classServerError = "server_error"
	classBadRequest  = "bad_request"
	classAuth        = "auth"
	classTimeout     = "timeout"
	classNetwork     = "network"
	classUnknown     = "unknown"
)

// codeClasses maps the providers' own codes and types, see
// https://platform.claude.com/docs/en/api/errors,
// https://platform.openai.com/docs/guides/error-codes,
// https://google.aip.dev/193 and
// https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html.
var codeClasses = map[string]string{
	"rate_limit_error":    classRateLimit,
	"rate_limit_exceeded": classRateLimit,

	"overloaded_error":      classServerError,
	"api_error":             classServerError,
	"server_error":          classServerError,
	"internal_error":        classServerError,
	"internal_server_error": classServerError,
	"service_unavailable":   classServerError,
	"slow_down":             classServerError,

	"authentication_error":       classAuth,
	"permission_error":           classAuth,
	"billing_error":              classAuth,
	"invalid_api_key":            classAuth,
	"insufficient_quota":         classAuth,
	"insufficient_permissions":   classAuth,
	"billing_hard_limit_reached": classAuth,
	"billing_not_active":         classAuth,
	"account_deactivated":        classAuth,

	"invalid_request_error":                classBadRequest,
	"invalid_prompt":                       classBadRequest,
	"not_found_error":                      classBadRequest,
	"request_too_large":                    classBadRequest,
	"context_length_exceeded":              classBadRequest,
	"model_not_found":                      classBadRequest,
	"unsupported_country_region_territory": classBadRequest,

	"timeout_error": classTimeout,

	"RESOURCE_EXHAUSTED":  classRateLimit,
	"UNAVAILABLE":         classServerError,
	"INTERNAL":            classServerError,
	"UNAUTHENTICATED":     classAuth,
	"PERMISSION_DENIED":   classAuth,
	"INVALID_ARGUMENT":    classBadRequest,
	"FAILED_PRECONDITION": classBadRequest,
	"NOT_FOUND":           classBadRequest,
	"DEADLINE_EXCEEDED":   classTimeout,

	"throttlingException":         classRateLimit,
	"internalServerException":     classServerError,
	"modelStreamErrorException":   classServerError,
	"serviceUnavailableException": classServerError,
	"modelTimeoutException":       classTimeout,
	"validationException":         classBadRequest,
	"accessDeniedException":       classAuth,
}

// overrides lists the codes that say more than the status they come with: an
// exhausted balance comes as 429 and is not cured by waiting, and an
// unsupported region comes as 403 and is not cured by another key.
var overrides = map[string]bool{
	"insufficient_quota":                   true,
	"billing_error":                        true,
	"billing_hard_limit_reached":           true,
	"billing_not_active":                   true,
	"unsupported_country_region_territory": true,
}

// ClassifyError puts a failed exchange into one of seven classes: rate_limit,
// server_error, bad_request, auth, timeout, network or unknown. It returns ""
// for a status that is no failure, without code and transport error. Without
// any status there was no response, which is a failure.
//
// The HTTP status decides first, since it is what the client acts upon; then
// the provider's code, which alone is known when a stream fails after its
// 200; then the transport's error, if there is no status (0).
func ClassifyError(status int, code string, transport ...error) string {
	if overrides[code] {
		return codeClasses[code]
	}
	if class := statusClass(status); class != "" {
		return class
	}
	if class, ok := codeClasses[code]; ok {
		return class
	}
	if err := errors.Join(transport...); err != nil {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
			return classTimeout
		}
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			return classTimeout
		}
		return classNetwork
	}
	if code != "" || status == 0 {
		return classUnknown
	}
	return ""
}

// statusClass classifies a status, "" if it is no error.
func statusClass(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusProxyAuthRequired:
		return classAuth
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return classTimeout
	case http.StatusTooManyRequests:
		return classRateLimit
	}
	switch {
	case status >= 500 && status <= 599: // 529 is Anthropic's overloaded_error
		return classServerError
	case status >= 400 && status <= 499:
		return classBadRequest
	case status >= 600:
		return classUnknown
	}
	return ""
}

// ErrorCodeOf returns the error's code that a response's header names, "" if it
// names none: of Amazon's errors, the body is a message only. See
// https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html, "Operation
// error serialization".
func ErrorCodeOf(h http.Header) string {
	code, _, _ := strings.Cut(h.Get("X-Amzn-Errortype"), ":")
	if !printable(code) {
		return ""
	}
	return strings.Clone(code)
}
