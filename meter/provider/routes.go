package provider

// BaseURL is a path beneath which an edge serves a provider to clients that
// take a base URL instead of a proxy: ANTHROPIC_BASE_URL, OPENAI_BASE_URL
// (with /v1 behind it) and GOOGLE_GEMINI_BASE_URL name one each.
type BaseURL struct {
	Prefix string // "/anthropic"
	Host   string // "api.anthropic.com"
}

// baseURLs holds names that clients have in their environment: one that was
// here stays, whether the host is metered or only forwarded.
var baseURLs = []BaseURL{
	{"/anthropic", "api.anthropic.com"},
	{"/openai", "api.openai.com"},
	{"/gemini", "generativelanguage.googleapis.com"},
}
