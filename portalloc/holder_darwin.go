package portalloc

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// findHolders asks lsof(8), which every macOS has: the kernel's own answer
// (libproc) needs cgo. lsof may wait on a dead network file system, hence
// the bound; an error message without a holder is better than none.
func findHolders(ctx context.Context, ports []int, _ int) map[int]Holder {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var list []string
	for _, p := range ports {
		list = append(list, strconv.Itoa(p))
	}
	// lsof exits with 1 when it found nothing for one of the ports.
	out, _ := exec.CommandContext(ctx, "/usr/sbin/lsof", "-nP", "-w",
		"-iTCP:"+strings.Join(list, ","), "-sTCP:LISTEN", "-FpcunP").Output()
	return parseLsof(out)
}
