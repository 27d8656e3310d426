package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/launchdtest"
)

// The test binary is the agent, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "work" {
		main()
		return
	}
	launchdtest.Main(m)
}

func TestAgent(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	client := launchdtest.New(t)
	do := func(verb string) string {
		t.Helper()
		var out bytes.Buffer
		if err := run(t.Context(), client, &out, verb); err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
		return out.String()
	}
	do("install")
	log := filepath.Join(os.Getenv("HOME"), "Library", "Logs", label+".log")
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; <-tick.C {
		if text, err := os.ReadFile(log); err == nil && bytes.Contains(text, []byte("agent.alive")) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the agent does not log")
		}
	}
	first := do("status")
	do("install")
	if again := do("status"); again != first {
		t.Errorf("status %q after a second install, want %q", again, first)
	}
	do("restart")
	if again := do("status"); again == first {
		t.Errorf("status %q after a restart", again)
	}
	do("remove")
	do("remove")
	if err := run(t.Context(), client, nil, "status"); !errors.Is(err, launchd.ErrNotLoaded) {
		t.Errorf("status: %v, want ErrNotLoaded", err)
	}
	if err := run(t.Context(), client, nil, "dance"); err == nil {
		t.Error("no error for a verb that is none")
	}
}
