package watchdog_test

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/haltonlabs/halton-meter/meter/watchdog"
)

// A service that refuses three connections and then is back.
func ExampleWatchdog() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	probes := 0
	w := watchdog.Watchdog{
		Interval: time.Millisecond,
		Failures: 3,
		Probe: func(context.Context) error {
			if probes++; probes <= 3 {
				return syscall.ECONNREFUSED
			}
			return nil
		},
		Down: func(context.Context) error {
			fmt.Println("system proxy off")
			return nil
		},
		Up: func(context.Context) error {
			fmt.Println("system proxy on")
			cancel()
			return nil
		},
	}
	fmt.Println(w.Run(ctx), probes)
	// Output:
	// system proxy off
	// system proxy on
	// <nil> 4
}
