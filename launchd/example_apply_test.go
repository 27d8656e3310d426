package launchd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/launchdtest"
)

// A program tests its agent on a launchd of its own, with real processes.
func ExampleClient_Apply() {
	TestAgent := func(t *testing.T) {
		client := launchdtest.New(t) // on a Mac in production: new(launchd.Client)
		var result launchd.ApplyResult
		result, err := client.Apply(t.Context(), launchd.GUI(501), "/tmp/com.example.agent.plist", &launchd.Job{
			Label: "com.example.agent", ProgramArguments: []string{"/usr/local/bin/agent"}, KeepAlive: launchd.AlwaysOn(),
		}, launchd.LoadOptions{})
		if err != nil || !result.Wrote {
			t.Error(result, err)
		}
	}
	_ = TestAgent

	// Without a job there is nothing to install.
	_, err := new(launchd.Client).Apply(context.Background(), launchd.GUI(501), "/tmp/x.plist", &launchd.Job{Label: "com.example.agent"}, launchd.LoadOptions{})
	fmt.Println(errors.Is(err, launchd.ErrBadPlist))
	fmt.Println(err)
	// Output:
	// true
	// apply com.example.agent: plist cannot be loaded: Program: there is nothing to run: set Program or ProgramArguments
}

func ExamplePostmortem() {
	line := `{"time":"2026-11-23T10:00:00Z","label":"com.example.agent","attempts":[{"delay_ms":200,"code":5,"stderr":"Bootstrap failed"}],"os_version":"macOS 26.1"}`
	var p launchd.Postmortem
	if err := json.Unmarshal([]byte(line), &p); err != nil {
		fmt.Println(err)
		return
	}
	last := launchd.PostmortemAttempt{Code: p.Attempts[0].Code}
	fmt.Println(p.Label, last.Code, launchd.CodeText(last.Code), p.OSVersion)
	// Output: com.example.agent 5 Input/output error macOS 26.1
}
