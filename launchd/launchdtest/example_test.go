package launchdtest_test

import (
	"fmt"
	"testing"

	"github.com/haltonlabs/halton-meter/launchd/emulator"
	"github.com/haltonlabs/halton-meter/launchd/launchdtest"
)

// What a program's tests share: how does it fare when launchd puts its start
// off? The function is a test; its package has a TestMain that calls Main.
func ExampleEmulator() {
	check := func(t *testing.T, e *launchdtest.Emulator, program func(*launchdtest.Emulator) launchdtest.Result) {
		if answer := program(e); answer.Code != 0 {
			t.Errorf("print: %d, %s", answer.Code, answer.Stderr)
		}
	}
	_ = func(t *testing.T) {
		t.Parallel()
		e := launchdtest.Start(t, emulator.Knobs{PendSpawns: "speculative"})
		// A real program would get e.Client(), or e.Executable() in place of
		// /bin/launchctl with e.Env() as its environment.
		check(t, e, func(e *launchdtest.Emulator) launchdtest.Result { return e.Run("list") })
	}
}

// A stand-in for launchctl of somebody's own is checked like the emulator.
func ExampleSubject() {
	_ = func(t *testing.T) {
		subject := launchdtest.Subject{Run: func(...string) launchdtest.Result {
			return launchdtest.Result{Code: 64, Stderr: "Unrecognized target specifier.\n"}
		}}
		rows := []launchdtest.Row{{
			Name:     "no such kind of domain",
			Evidence: "launchctl(1)",
			Steps:    []launchdtest.Step{{Args: "print planet/3", Codes: []int{64}, Stderr: "target specifier"}},
		}}
		launchdtest.Conform(t, func(*testing.T, *emulator.Knobs) launchdtest.Subject { return subject }, rows)
	}
}

func ExampleRows() {
	for _, row := range launchdtest.Rows() {
		if row.Name == "bootout of an unknown label" {
			fmt.Println(row.Steps[0].Args, "=", row.Steps[0].Codes, row.Steps[0].Stderr)
		}
	}
	// Output: bootout {target} = [3] Boot-out failed: 3: No such process
}
