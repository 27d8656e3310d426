package meter

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/meter/ledger"
)

// remembering is a learned on the state directory dir, which has a CA.
func remembering(t *testing.T, dir, ca string) *learned {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "ca"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca", "ca.pem"), []byte(ca), 0o600); err != nil {
		t.Fatal(err)
	}
	l := &learned{}
	l.restore(dir, slog.New(slog.DiscardHandler))
	return l
}

func TestLessonsOutliveARestart(t *testing.T) {
	const host, program = "api.example.com", "/bin/tool"
	dir := t.TempDir()
	l := remembering(t, dir, "a CA")
	l.rejected(host, program, true)
	l.rejected(host, "/bin/guess", false) // not enough to be kept
	l.close()
	l = remembering(t, dir, "a CA")
	if !l.passes(host, program) || l.passes(host, "/bin/guess") {
		t.Errorf("after a restart it knows %v", l.list())
	}
	l.trusted(host, program)
	l.close()
	if l = remembering(t, dir, "a CA"); l.knows(host) {
		t.Error("it was unlearned, and is back after a restart")
	}
	l.rejected(host, program, true)
	l.close()
	if l = remembering(t, dir, "another CA"); l.knows(host) {
		t.Error("it is held against another CA")
	}
	if st, err := os.Stat(filepath.Join(dir, "learned.json")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("learned.json: %v, %v", st, err)
	}
}

// Whatever lies in the file, nothing is learned from it that could not have
// been, and nothing for longer.
func TestHostileLessons(t *testing.T) {
	dir := t.TempDir()
	mine := remembering(t, dir, "a CA")
	until := map[string]time.Time{"past": time.Now().Add(-time.Second), "far": time.Now().Add(24 * time.Hour), "soon": time.Now().Add(time.Minute)}
	saved := savedLessons{CA: mine.file.ca}
	for program, at := range until {
		saved.Lessons = append(saved.Lessons, savedLesson{"h", program, at})
	}
	data, err := json.Marshal(saved)
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{string(data), "", "{", "null", `{"ca":"x","lessons":[{}]}`} {
		if err := os.WriteFile(mine.file.path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		l := remembering(t, dir, "a CA")
		if l.passes("h", "past") || l.passes("h", "far") || l.passes("h", "soon") != (content == string(data)) {
			t.Errorf("from %.40q: %v", content, l.list())
		}
	}
}

func TestLessonsAreBounded(t *testing.T) {
	var l learned
	for i := range 3 * maxLessons {
		l.rejected("h", string(rune('a'+i)), i%2 == 0)
	}
	if len(l.lessons) > maxLessons {
		t.Errorf("%d lessons", len(l.lessons))
	}
}

// What an earlier daemon stored is known to have been billed.
func TestBilledBeforeARestart(t *testing.T) {
	dir := t.TempDir()
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	err = l.Finish(ledger.Row{ID: "a", Provider: "openai", ResponseID: "resp_1", InputTokens: new(int64), RequestedAt: time.Now(), Status: "success"})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	d := &daemon{Config: Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)}}
	if !d.billed("openai", "resp_1") || d.billed("openai", "resp_2") || d.billed("azure", "resp_1") {
		t.Error("it does not know which response was billed")
	}
}
