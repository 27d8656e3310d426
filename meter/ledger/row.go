package ledger

import "time"

// Opening is the first journal record of an exchange, written before it is
// forwarded. If its Row never comes, the replay turns it into one.
type Opening struct {
	ID            string    `json:"id"`
	RequestedAt   time.Time `json:"requested_at"`
	Project       string    `json:"project"`
	ProjectSource string    `json:"project_source"`
	Provider      string    `json:"provider"`
	Host          string    `json:"host"`
	Path          string    `json:"path"`
	Kind          string    `json:"kind"`
	Client        string    `json:"client"` // as Row.Client
}

// Row is one exchange in the ledger. Its JSON form is a line of
// "halton-meter export --format jsonl": the names and units there are a
// promise. Absent knowledge is null, never zero.
type Row struct {
	// ID is a random UUID; it was fixed before the exchange was forwarded.
	ID string `json:"id"`
	// RequestedAt is when the request arrived, UTC.
	RequestedAt time.Time `json:"requested_at"`
	// Project is a slug; ProjectSource says which rule chose it.
	Project       string `json:"project"`
	ProjectSource string `json:"project_source"`
	// Provider is the provider's name ("anthropic", "openai", "google"…).
	Provider string `json:"provider"`
	Host     string `json:"host"`
	// Path has no query.
	Path string `json:"path"`
	// Model is the served model, "" if neither side named one.
	Model string `json:"model"`
	// Mode is standard, thinking or batch.
	Mode string `json:"mode"`
	// Kind is chat, embedding, image, audio or other.
	Kind string `json:"kind"`
	// Stream reports whether the client asked for a stream.
	Stream bool `json:"stream"`
	// Status is success, error (the provider's or the transport's), aborted
	// (the client went away), truncated (the answer broke off) or unknown
	// (the daemon died before the end).
	Status string `json:"status"`
	// HTTPStatus is the response's status code, null without a response.
	HTTPStatus *int `json:"http_status"`
	// ErrorClass is rate_limit, server_error, bad_request, auth, timeout,
	// network or unknown; null on success.
	ErrorClass *string `json:"error_class"`

	// InputTokens were neither read from nor written to a cache.
	InputTokens *int64 `json:"input_tokens"`
	// OutputTokens is all billed output; ThinkingTokens is a part of it.
	OutputTokens   *int64 `json:"output_tokens"`
	ThinkingTokens *int64 `json:"thinking_tokens"`
	// CacheReadTokens were read from the provider's cache.
	CacheReadTokens *int64 `json:"cache_read_tokens"`
	// CacheWriteTokens is everything written to the provider's cache;
	// CacheWrite1hTokens is the part of it with the lifetime of an hour.
	CacheWriteTokens   *int64 `json:"cache_write_tokens"`
	CacheWrite1hTokens *int64 `json:"cache_write_1h_tokens"`
	// ToolCalls counts billed per-call charges by name; null if none.
	ToolCalls map[string]int64 `json:"tool_calls"`

	// CostNanoUSD is the cost in 1e-9 USD; null if it is not known, and then
	// CostReason says why.
	CostNanoUSD *int64  `json:"cost_nano_usd"`
	CostReason  *string `json:"cost_reason"`
	// RatesSource is "bundled-YYYY-MM-DD" or "override"; null without a cost.
	RatesSource *string `json:"rates_source"`
	// TokensComplete is false if the counts may lack something.
	TokensComplete bool `json:"tokens_complete"`

	// LatencyMS is from the request to the last byte, in milliseconds;
	// FirstByteMS to the first byte of the body. Null if it never came.
	LatencyMS   *float64 `json:"latency_ms"`
	FirstByteMS *float64 `json:"first_byte_ms"`
	// Client is the User-Agent that the tool sent, cut to 200 bytes.
	Client string `json:"client"`

	// RawUsage is the provider's own usage object, for later questions. It
	// is stored and not exported.
	RawUsage []byte `json:"-"`
	// Tier is the service tier that was billed. Stored, not exported.
	Tier string `json:"-"`
	// ErrorCode is the provider's own error code. Stored, not exported.
	ErrorCode string `json:"-"`
	// ResponseID is the provider's id of the response. Stored, not exported.
	ResponseID string `json:"-"`
	// ReportedCostNanoUSD is the cost that the provider itself names, in 1e-9
	// USD; nil if it names none. Stored, not exported.
	ReportedCostNanoUSD *int64 `json:"-"`
	// SessionID and AgentID are the tool's own ids of the session and of the
	// (sub-)agent that made the call. Stored, not exported.
	SessionID string `json:"-"`
	AgentID   string `json:"-"`
	// Charges says in JSON which usage is billed at which model, as far as
	// Model and the counts above do not: what is needed to price the row
	// again. Stored, not exported.
	Charges []byte `json:"-"`
}
