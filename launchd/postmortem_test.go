package launchd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/launchd"
)

// failToLoad loads a job that is refused until the budget ends.
func failToLoad(t *testing.T, plist, postmortem string) *standIn {
	t.Helper()
	s := &standIn{t: t, answers: map[string]func() launchd.Output{
		"bootstrap": always(refused), "print": always(unknown), "print-disabled": always(enabled),
	}}
	_, err := s.client().Load(t.Context(), domain, plist, launchd.LoadOptions{Budget: 2 * time.Second, Postmortem: postmortem})
	if _, ok := errors.AsType[*launchd.Error](err); !ok {
		t.Errorf("error = %v", err)
	}
	return s
}

func readPostmortems(t *testing.T, path string) []launchd.Postmortem {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []launchd.Postmortem
	for line := range bytes.Lines(data) {
		var p launchd.Postmortem
		if err := json.Unmarshal(line, &p); err != nil {
			t.Fatalf("%v in %.100q", err, line)
		}
		out = append(out, p)
	}
	return out
}

func TestPostmortemIsComplete(t *testing.T) {
	plist := writePlist(t, nil)
	path := filepath.Join(t.TempDir(), "bootstrap-postmortem.jsonl")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now().UTC()
		s := failToLoad(t, plist, path)
		p := readPostmortems(t, path)[0]
		if !p.Time.Equal(start.Add(2*time.Second)) || p.Label != label || p.Domain != "gui/501" || p.Plist != plist || p.Mode != "0600" {
			t.Errorf("post-mortem = %+v", p)
		}
		if p.Owner == "" || p.OSVersion == "" || !strings.Contains(p.Print, "113") || p.Disabled == nil || *p.Disabled {
			t.Errorf("post-mortem = %+v", p)
		}
		if len(p.Attempts) != s.count("bootstrap") {
			t.Errorf("%d attempts of %d", len(p.Attempts), s.count("bootstrap"))
		}
		at := start
		for _, a := range p.Attempts {
			at = at.Add(time.Duration(a.DelayMS * float64(time.Millisecond)))
			if off := a.At.Sub(at).Abs(); a.Code != 5 || a.Stderr != string(refused.Stderr) || off > time.Millisecond {
				t.Errorf("attempt = %+v, want code 5 at %s", a, at)
			}
		}
	})
	// A reader of the file sees these keys, whatever the Go names are.
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]any
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	want := []string{"attempts", "disabled", "domain", "label", "mode", "os_version", "owner", "plist", "print", "time"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(raw))); diff != "" {
		t.Error(diff)
	}
	attempt := raw["attempts"].([]any)[0].(map[string]any)
	if diff := cmp.Diff([]string{"at", "code", "delay_ms", "stderr"}, slices.Sorted(maps.Keys(attempt))); diff != "" {
		t.Error(diff)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v", st.Mode(), err)
	}
}

func TestPostmortemsAreRotated(t *testing.T) {
	plist := writePlist(t, nil)
	path := filepath.Join(t.TempDir(), "bootstrap-postmortem.jsonl")
	full := bytes.Repeat([]byte("x"), 1<<20-100)
	if err := os.WriteFile(path, full, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		synctest.Test(t, func(t *testing.T) { failToLoad(t, plist, path) })
	}
	if n := len(readPostmortems(t, path)); n != 2 {
		t.Errorf("%d lines in the new file, want 2", n)
	}
	if old, err := os.ReadFile(path + ".1"); err != nil || !bytes.Equal(old, full) {
		t.Errorf("old file has %d bytes, %v", len(old), err)
	}
}

func TestPostmortemThatCannotBeWritten(t *testing.T) {
	plist := writePlist(t, nil)
	path := filepath.Join(t.TempDir(), "missing", "p.jsonl")
	s := &standIn{t: t, answers: map[string]func() launchd.Output{"bootstrap": always(exit(122, ""))}}
	_, err := s.client().Load(t.Context(), domain, plist, launchd.LoadOptions{Postmortem: path})
	if !errors.Is(err, launchd.ErrBadPlist) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error = %v, want both", err)
	}
}

// A launchctl that never answers costs its budget, and is on record.
func TestPostmortemOfAHungLaunchctl(t *testing.T) {
	plist := writePlist(t, nil)
	path := filepath.Join(t.TempDir(), "p.jsonl")
	hangs := launchd.Output{Code: hang}
	tests := map[string]struct {
		enable, bootstrap launchd.Output
		attempts          []launchd.PostmortemAttempt
	}{
		"bootstrap": {succeeds, hangs, []launchd.PostmortemAttempt{{Code: -1}}},
		"all":       {hangs, hangs, []launchd.PostmortemAttempt{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &standIn{t: t, answers: map[string]func() launchd.Output{
					"enable": always(tt.enable), "bootstrap": always(tt.bootstrap), "print": always(hangs), "print-disabled": always(hangs),
				}}
				start := time.Now()
				_, err := s.client().Load(t.Context(), domain, plist, launchd.LoadOptions{Budget: 5 * time.Second, Postmortem: path})
				if !errors.Is(err, launchd.ErrNoAnswer) {
					t.Errorf("error = %v", err)
				}
				// 2 s of it are for the post-mortem.
				if took := time.Since(start); took != 7*time.Second {
					t.Errorf("took %s", took)
				}
				all := readPostmortems(t, path)
				p := all[len(all)-1]
				if p.Disabled != nil || p.Print == "" || p.Attempts == nil || len(p.Attempts) != len(tt.attempts) {
					t.Errorf("post-mortem = %+v", p)
				}
				for i, a := range p.Attempts {
					if a.Code != tt.attempts[i].Code || !strings.Contains(a.Stderr, "did not answer") {
						t.Errorf("attempt = %+v", a)
					}
				}
			})
		})
	}
}

// A caller that gives up, as after Ctrl-C, has met no failure.
func TestNoPostmortemOfACancelledLoad(t *testing.T) {
	plist := writePlist(t, nil)
	path := filepath.Join(t.TempDir(), "p.jsonl")
	ctx, cancel := context.WithCancel(t.Context())
	s := &standIn{t: t, answers: map[string]func() launchd.Output{"bootstrap": func() launchd.Output {
		cancel()
		return exit(5, "Bootstrap failed: 5: Input/output error")
	}}}
	_, err := s.client().Load(ctx, domain, plist, launchd.LoadOptions{Postmortem: path})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a post-mortem: %v", err)
	}
}
