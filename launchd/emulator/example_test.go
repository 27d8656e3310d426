package emulator_test

import (
	"context"
	"fmt"
	"os"

	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

// A program usually runs its Supervisor as a process of its own, which
// Launchctl starts when it needs it. Here it is a goroutine.
func ExampleSupervisor() {
	dir, err := os.MkdirTemp("", "launchd")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- (&emulator.Supervisor{Dir: dir}).Run(ctx) }()

	// A client that comes too early would start a second supervisor; its
	// program here does nothing, so the client goes on to ask the first.
	launchctl := emulator.Launchctl{Dir: dir, Start: []string{"/usr/bin/true"}}
	launchctl.Run(ctx, []string{"setenv", "GREETING", "hello"}, os.Stdout, os.Stderr)
	launchctl.Run(ctx, []string{"getenv", "GREETING"}, os.Stdout, os.Stderr)
	stop()
	fmt.Println(<-ended)
	// Output:
	// hello
	// <nil>
}

func ExampleLaunchctl() {
	launchctl := emulator.Launchctl{Dir: "/nonexistent"}
	code := launchctl.Run(context.Background(), []string{"error", "113"}, os.Stdout, os.Stderr)
	fmt.Println(code)
	code = launchctl.Run(context.Background(), []string{"bootout", fmt.Sprintf("gui/%d/com.example.agent", os.Getuid())}, os.Stdout, os.Stdout)
	fmt.Println(code)
	// Output:
	// 113: Could not find specified service
	// 0
	// Boot-out failed: 3: No such process
	// 3
}

func ExampleKnobs() {
	// Before macOS 26 bootout knew no --wait.
	old := emulator.Launchctl{Knobs: emulator.Knobs{OS: emulator.MacOS15}}
	old.Run(context.Background(), []string{"help", "bootout"}, os.Stdout, os.Stderr)
	// Output:
	// Usage: launchctl bootout <domain-target> [service-path1, service-path2, ...] | <service-target>
}
