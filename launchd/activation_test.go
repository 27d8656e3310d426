package launchd_test

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/internal/activation"
	"github.com/haltonlabs/halton-meter/launchd"
)

// A test is no job, neither of launchd nor of the emulator; what a job gets is
// tested there.
func TestListenersOutsideOfAJob(t *testing.T) {
	for name, supervisor := range map[string]string{
		"not under launchd":     "",
		"the emulator is gone":  filepath.Join(t.TempDir(), "launchd.sock"),
		"a supervisor's remain": t.TempDir(),
	} {
		t.Setenv(activation.Env, supervisor)
		if listeners, err := launchd.Listeners("Listeners"); !errors.Is(err, launchd.ErrNotActivated) || listeners != nil {
			t.Errorf("%s: %v, %v", name, listeners, err)
		}
	}
}

// A server that launchd starts when somebody connects, and that also runs by
// itself.
func ExampleListeners() {
	listeners, err := launchd.Listeners("Listeners")
	if errors.Is(err, launchd.ErrNotActivated) {
		var ln net.Listener
		ln, err = net.Listen("tcp", "127.0.0.1:0")
		listeners = []net.Listener{ln}
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer listeners[0].Close()
	fmt.Println(listeners[0].Addr().Network())
	// Output: tcp
}
