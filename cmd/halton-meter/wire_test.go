package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/attribution"
	"github.com/haltonlabs/halton-meter/meter/ledger"
	"github.com/haltonlabs/halton-meter/portalloc"
)

// stater is a call of a program that says where it works.
type stater struct {
	dir             string   // of its process
	run             []string // arguments of "run"
	env             []string
	url             string
	header, body    string
	project, source string
	session, agent  string
}

// tool is a program that makes one call; its name makes this binary one.
func (m *machine) tool() string {
	m.Helper()
	self, err := os.Executable()
	if err != nil {
		m.Fatal(err)
	}
	tool := filepath.Join(m.TempDir(), "client")
	if err := os.Symlink(self, tool); err != nil {
		m.Fatal(err)
	}
	return tool
}

// speak runs the call's program.
func (m *machine) speak(argv []string, s stater, metered bool) {
	m.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(append(append([]string{}, m.env...), s.env...), clientURL+"="+s.url, clientHeader+"="+s.header, clientBody+"="+s.body)
	m.answered(cmd, metered)
}

// rows are those of the ledger, with what no export has.
func (m *machine) rows() []ledger.Row {
	m.Helper()
	m.export() // which waits for the rows to be stored
	r, err := ledger.OpenReader(m.Context(), m.paths().State)
	if err != nil {
		m.Fatal(err)
	}
	defer r.Close()
	var rows []ledger.Row
	for row, err := range r.Rows(m.Context(), ledger.Query{}) {
		if err != nil {
			m.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// Claude Code, Codex and Gemini CLI say where they work. That counts, whatever
// directory their processes stand in, unless the user has named the project;
// and what they say is checked. Also after the daemon was away for some calls.
func TestStatedDirectories(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	work, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, shop, web := filepath.Join(work, "elsewhere"), filepath.Join(work, "Shop.API"), filepath.Join(work, "Shop.API", "web")
	billed := filepath.Join(work, "rc", "deep")
	for _, dir := range []string{elsewhere, web, billed} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("git", "init", "-q", shop).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	m.write(filepath.Join(work, "rc", ".haltonrc"), "project = \"billing\"\n")

	claude := func(dir string) (header, body string) {
		return "User-Agent: claude-cli/2.1.330 (external, cli)\nX-Claude-Code-Session-Id: session-1\nX-Claude-Code-Agent-Id: agent-1",
			`{"model":"x","system":[{"type":"text","text":` + quoted(t, "# Environment\n - Primary working directory: "+dir+"\n - Platform: linux") + `}]}`
	}
	said := func(s stater, dir string) stater {
		s.header, s.body = claude(dir)
		s.session, s.agent = "session-1", "agent-1"
		return s
	}
	codex := stater{
		dir: elsewhere, url: "https://api.openai.com/v1/responses",
		header: "User-Agent: codex_exec/0.169.0\nThread-Id: thread-2\nX-Codex-Turn-Metadata: " +
			`{"session_id":"thread-1","thread_id":"thread-2","workspaces":{` + quoted(t, shop) + `:{"associated_remote_urls":{"origin":"https://example.com/x.git"}}}}`,
		project: "shop-api", source: "wire", session: "thread-1", agent: "thread-2",
	}
	gemini := stater{
		dir: elsewhere, url: "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:generateContent",
		header: "User-Agent: GeminiCLI-tui/0.61.0/gemini-2.5-pro (linux; x64)",
		body: `{"contents":[{"role":"user","parts":[{"text":` +
			unescaped(quoted(t, "<session_context>\nToday is a day.\n- **Workspace Directories:**\n  - "+billed+"\n</session_context>")) + `}]}]}`,
		project: "billing", source: "wire",
	}
	cases := []stater{
		said(stater{dir: elsewhere, project: "shop-api", source: "wire"}, web),
		said(stater{dir: elsewhere, project: "billing", source: "wire"}, billed),
		said(stater{dir: billed, project: "billing", source: "wire"}, work), // the process's is more exact
		codex,
		gemini,
		said(stater{dir: elsewhere, env: []string{"HALTON_PROJECT=mine"}, project: "mine", source: "env"}, shop),
		said(stater{dir: elsewhere, run: []string{"--project", "named"}, project: "named", source: "proxy_url"}, shop),
		said(stater{dir: elsewhere, project: "elsewhere", source: "workdir"}, "/proc/self/cwd"),
		said(stater{dir: shop, project: "shop-api", source: "git"}, filepath.Join(work, "gone")),
	}
	tool := m.tool()
	call := func(s stater, metered bool) {
		t.Helper()
		m.speak(append(append([]string{program, "run"}, s.run...), "--", tool), s, metered)
	}
	check := func(from int) {
		t.Helper()
		rows := m.rows()
		if len(rows) != from+len(cases) {
			t.Fatalf("%d rows, want %d", len(rows), from+len(cases))
		}
		for i, row := range rows[from:] {
			got := []string{row.Project, row.ProjectSource, row.SessionID, row.AgentID}
			if c := cases[i]; strings.Join(got, " ") != strings.Join([]string{c.project, c.source, c.session, c.agent}, " ") {
				t.Errorf("call %d: got %q, want %s by %s in session %s, agent %s", i, got, c.project, c.source, c.session, c.agent)
			}
		}
	}
	m.must(0, "start")
	for _, c := range cases {
		call(c, true)
	}
	check(0)
	rec, err := portalloc.ReadRecord(m.paths().Ports())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(rec.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	call(cases[0], false)
	call(codex, false)
	m.must(0, "start")
	for _, c := range cases {
		call(c, true)
	}
	check(len(cases))
}

func quoted(t *testing.T, s string) string {
	t.Helper()
	q, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(q)
}

// unescaped is JSON as JavaScript writes it, which leaves < and > alone.
func unescaped(s string) string { return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(s) }

// A program that an editor has started nowhere in particular is on the project
// of the folder that the editor was told to open.
func TestEditorWorkspace(t *testing.T) {
	t.Parallel()
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	folder := filepath.Join(t.TempDir(), "my-plugin")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	tool := m.tool()
	// The shell has an editor's arguments, and the tool as its child.
	editor := []string{"/bin/sh", "-c", `"$PROGRAM" run -- "$TOOL"; exit $?`, "editor", "--type=utility", "--folder-uri=file://" + folder}
	env := []string{"PROGRAM=" + program, "TOOL=" + tool}
	for _, dir := range []string{"/", m.home} {
		m.speak(editor, stater{dir: dir, env: env}, true)
	}
	m.speak(editor[:4], stater{dir: "/", env: append(env, "VSCODE_WORKSPACE_LABEL=labelled")}, true)
	var got []string
	for _, row := range m.rows() {
		got = append(got, row.Project+" by "+row.ProjectSource)
	}
	want := []string{"my-plugin by parent_ide_sniff", "my-plugin by parent_ide_sniff", "labelled by ide_env_label"}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A burst of connections: every call is answered, has its row, and is on its
// program's project.
func TestBurstOfConnections(t *testing.T) {
	t.Parallel()
	const calls = 60
	m := newMachine(t, freePorts(t))
	m.must(0, "start")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	project, source := attribution.Resolver{}.Resolve(attribution.Facts{Dir: here})
	shared := m.client("").Transport.(*http.Transport)
	var all sync.WaitGroup
	for range calls {
		all.Go(func() {
			own := shared.Clone()
			t.Cleanup(own.CloseIdleConnections) // after the look for it, however late that is
			if got, err := m.play(&http.Client{Transport: own}, 0); err != nil || string(got) != m.provider.Recordings[0].ResponseBody {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		})
	}
	all.Wait()
	rows := m.export()
	if len(rows) != calls {
		t.Errorf("%d rows for %d calls", len(rows), calls)
	}
	for _, row := range rows {
		if row.Project != project || row.ProjectSource != source || !row.TokensComplete {
			t.Errorf("row of %s by %s, complete %v", row.Project, row.ProjectSource, row.TokensComplete)
		}
	}
}
