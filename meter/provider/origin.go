package provider

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
)

// Origin is where an exchange comes from, in the client's own words. They are
// as true as the client is; what is absent is "".
type Origin struct {
	// SessionID is the tool's id of the session that the exchange is part of.
	SessionID string
	// AgentID is its id of the sub-agent that made the call; the session's
	// main agent has none.
	AgentID string
	// Dir is the absolute path of the directory in which the tool works.
	Dir string
}

// originFields are the header fields that OriginOf looks at.
var originFields = []string{
	"User-Agent", "Originator",
	"X-Claude-Code-Session-Id", "X-Claude-Code-Agent-Id",
	"Session-Id", "Session_id", "Thread-Id", "X-Openai-Subagent", "X-Codex-Parent-Thread-Id", "X-Codex-Turn-Metadata",
}

// maxField bounds a header field that is read further than as an id.
const maxField = 64 << 10

// OriginHeader returns a copy of what OriginOf needs of a request's header,
// for a caller that reads it later: the fields of the well-known clients, and
// none that holds a key or a prompt. It is nil for a request of another client.
func OriginHeader(h http.Header) http.Header {
	if statesOrigin(h) == nil {
		return nil
	}
	kept := http.Header{}
	for _, name := range originFields {
		if v := h.Get(name); v != "" && len(v) <= maxField {
			kept.Set(name, strings.Clone(v))
		}
	}
	return kept
}

// OriginOf reads the request of a client that says of itself where it works:
// Claude Code, Codex, or Gemini CLI. The body, decompressed, may be cut.
func OriginOf(h http.Header, body []byte) Origin {
	var o Origin
	if read := statesOrigin(h); read != nil {
		read(&o, h, body)
	}
	if !filepath.IsAbs(o.Dir) || strings.ContainsRune(o.Dir, 0) {
		o.Dir = ""
	}
	return o
}

// statesOrigin finds the reader of what the client says, by the client's name
// for itself. Others may well quote the same words in a prompt.
func statesOrigin(h http.Header) func(*Origin, http.Header, []byte) {
	agent := h.Get("User-Agent")
	switch {
	case strings.HasPrefix(agent, "claude-cli/"):
		return (*Origin).claudeCode
	case strings.HasPrefix(agent, "codex"), strings.HasPrefix(h.Get("Originator"), "codex"), h.Get("X-Codex-Turn-Metadata") != "":
		return (*Origin).codex
	case strings.HasPrefix(agent, "GeminiCLI"):
		return (*Origin).geminiCLI
	}
	return nil
}

// claudeCode: the ids come in header fields since 2.1.86 and 2.1.139, before
// that in metadata.user_id, which is a JSON object in a string, or older
// still user_…_account_…_session_… The directory is told to the model, in the
// system prompt.
func (o *Origin) claudeCode(h http.Header, body []byte) {
	o.SessionID, o.AgentID = id(h.Get("X-Claude-Code-Session-Id")), id(h.Get("X-Claude-Code-Agent-Id"))
	fields(body, func(key, value []byte) {
		switch string(key) {
		case "metadata":
			if o.SessionID == "" {
				o.SessionID = claudeSession(member(value, "user_id"))
			}
		case "system":
			if value[0] == '"' {
				o.claudeSystem(value)
				return
			}
			elements(value, func(block []byte) { o.claudeSystem(member(block, "text")) })
		}
	})
}

// claudeSystem reads one text of the system prompt. The first words for the
// directory are those of the terminal's program, the second the SDK's.
func (o *Origin) claudeSystem(quoted []byte) {
	for _, words := range []string{`Primary working directory: `, `\nWorking directory: `} {
		if o.Dir == "" {
			o.Dir = restOfLine(quoted, words)
		}
	}
}

func claudeSession(quoted []byte) string {
	var user string
	if len(quoted) > 4096 || json.Unmarshal(quoted, &user) != nil {
		return ""
	}
	if session := text(member([]byte(user), "session_id")); session != "" {
		return id(session)
	}
	_, session, _ := strings.Cut(user, "_session_")
	return id(session)
}

// codex: a header field holds a JSON object that names the session, the
// thread (a sub-agent has its own) and the workspaces, by their git roots. A
// directory without git stands only in the prompt, as <cwd>. Over a WebSocket
// the field comes in the body's client_metadata instead.
func (o *Origin) codex(h http.Header, body []byte) {
	var inBody []byte
	thread := ""
	fields(body, func(key, value []byte) {
		switch string(key) {
		case "client_metadata":
			inBody = member(value, "x-codex-turn-metadata")
			o.SessionID, thread = id(text(member(value, "session_id"))), id(text(member(value, "thread_id")))
		case "input":
			elements(value, func(item []byte) { o.codexItem(item) })
		}
	})
	turn := []byte(h.Get("X-Codex-Turn-Metadata"))
	var nested string
	if len(inBody) <= maxField && json.Unmarshal(inBody, &nested) == nil {
		turn = []byte(nested) // of this message; a socket's header is of its first
	}
	cwd := o.Dir
	o.Dir = ""
	fields(turn, func(key, value []byte) {
		switch string(key) {
		case "session_id":
			o.SessionID = cmp.Or(id(text(value)), o.SessionID)
		case "thread_id":
			thread = cmp.Or(id(text(value)), thread)
		case "workspaces":
			o.Dir = onlyKey(value)
		}
	})
	if o.Dir == "" || strings.HasPrefix(cwd, o.Dir+"/") {
		o.Dir = cwd
	}
	thread = cmp.Or(thread, id(h.Get("Thread-Id")))
	o.SessionID = cmp.Or(o.SessionID, id(h.Get("Session-Id")), id(h.Get("Session_id")), id(h.Get("X-Codex-Parent-Thread-Id")), thread)
	if thread != o.SessionID {
		o.AgentID = thread
	}
}

// codexItem reads an item of the prompt; the last <cwd> is the present one.
func (o *Origin) codexItem(item []byte) {
	elements(member(item, "content"), func(part []byte) {
		quoted := member(part, "text")
		const context = `"<environment_context>`
		if !bytes.HasPrefix(quoted, []byte(context)) {
			return
		}
		_, rest, ok := bytes.Cut(quoted, []byte("<cwd>"))
		inner, _, ended := bytes.Cut(rest, []byte("</cwd>"))
		if ok && ended {
			o.Dir = unquotePath(inner)
		}
	})
}

// geminiCLI: the first thing that it tells the model is its workspace. The
// session has an id only where the request goes to Code Assist.
func (o *Origin) geminiCLI(_ http.Header, body []byte) {
	request := member(body, "request")
	o.SessionID = id(text(member(request, "session_id")))
	contents := member(body, "contents")
	if contents == nil {
		contents = member(request, "contents")
	}
	first := true
	elements(contents, func(content []byte) {
		if !first {
			return
		}
		first = false
		elements(member(content, "parts"), func(part []byte) {
			quoted := member(part, "text")
			if o.Dir == "" && bytes.HasPrefix(quoted, []byte(`"<session_context>`)) {
				o.Dir = restOfLine(quoted, `**Workspace Directories:**\n  - `)
			}
		})
	})
}

// restOfLine returns what follows the words in a JSON string, to the end of
// the line. Both are in the string's escaped form.
func restOfLine(quoted []byte, words string) string {
	_, rest, ok := bytes.Cut(quoted, []byte(words))
	if !ok {
		return ""
	}
	rest = rest[:min(len(rest), maxDir)]
	for i := 0; i < len(rest); i++ {
		switch {
		case rest[i] == '"':
			return unquotePath(rest[:i])
		case rest[i] == '\\' && i+1 < len(rest):
			if rest[i+1] == 'n' || rest[i+1] == 'r' {
				return unquotePath(rest[:i])
			}
			i++
		}
	}
	return "" // it is cut
}

// maxDir bounds a path, escaped.
const maxDir = 8 << 10

// unquotePath takes the escapes out of a part of a JSON string.
func unquotePath(escaped []byte) string {
	var s string
	if len(escaped) > maxDir || json.Unmarshal([]byte(`"`+string(escaped)+`"`), &s) != nil {
		return ""
	}
	return strings.TrimSpace(s)
}

// onlyKey is the one key of an object; with several there is none to choose.
func onlyKey(object []byte) (only string) {
	n := 0
	fields(object, func(key, _ []byte) {
		n++
		only = string(key)
	})
	if n != 1 || len(only) > maxDir {
		return ""
	}
	return only
}

// id returns s if it is fit to be an id.
func id(s string) string {
	if !printable(s) {
		return ""
	}
	return s
}
