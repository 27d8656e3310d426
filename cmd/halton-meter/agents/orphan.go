package agents

import (
	"context"
	"errors"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
)

// orphanedPort is the port of an edge that a graceful uninstall, or the loss of
// its plist, has left behind, 0 if there is none: open shells depend on it.
func (in *Installer) orphanedPort(ctx context.Context) int {
	choice := EdgeChoice(in.Config.Daemon.EdgePort)
	for _, port := range append([]int{choice.Preferred}, choice.Fallbacks...) {
		if in.edgeAnswers(ctx, port) == nil {
			return port
		}
	}
	return 0
}

// orphanPatience is how long the built-in supervisor whose directory was
// deleted may take to find that, and to end with its edge.
const orphanPatience = 5 * time.Second

// awaitOrphan waits for the end of such an edge, which has the port. One that
// was loaded at its side would find the port taken, end, and be held back for a
// second: nobody would serve meanwhile.
func (in *Installer) awaitOrphan(ctx context.Context, port int) {
	if in.Supervisor.Name != Emulator || in.edgeAnswers(ctx, port) != nil {
		return
	}
	if _, err := in.Supervisor.Print(ctx, in.Supervisor.Target(Edge)); !errors.Is(err, launchd.ErrNotLoaded) {
		return // it is nobody's orphan
	}
	ctx, cancel := context.WithTimeout(ctx, orphanPatience)
	defer cancel()
	for portInUse(port) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
}
