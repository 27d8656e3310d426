package doctor

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
	"github.com/haltonlabs/halton-meter/internal/reserved"
)

// patience is what one client gets for one request on this machine.
const patience = 15 * time.Second

// client is a kind of program that trusts roots in its own way.
type client struct {
	name string
	argv []string
}

// node asks for a tunnel by hand: its fetch follows proxy variables only in
// new versions, and what counts here is whether it trusts the root.
const node = `
const http = require("http"), tls = require("tls"), host = process.argv[1], edge = process.argv[2].split(":");
const fail = e => { console.error(String(e.message || e)); process.exit(1) };
http.request({host: edge[0], port: edge[1], method: "CONNECT", path: host + ":443"}).on("connect", (res, socket) => {
  if (res.statusCode !== 200) fail("the edge answered " + res.statusCode);
  tls.connect({socket, servername: host}, () => process.exit(0)).on("error", fail);
}).on("error", fail).end();
`

const python = `
import sys, urllib.request
urllib.request.urlopen("https://" + sys.argv[1] + "/", timeout=15).read()
`

func clients(edge string) []client {
	target := reserved.Metered
	return []client{
		{"curl", []string{"curl", "--silent", "--show-error", "--fail", "--max-time", "15", "https://" + target + "/"}},
		{"node", []string{"node", "-e", node, target, edge}},
		{"python3", []string{"python3", "-c", python, target}},
	}
}

// handshakes makes a real request to the reserved name with each kind of
// client that is here, in the environment that "run" would give it.
func (p *Patient) handshakes(ctx context.Context) Finding {
	rec, err := p.record()
	if err != nil || !rec.Live() {
		return ok("not tried: the daemon is down, so that nothing is intercepted")
	}
	port := agents.EdgePort(p.Paths)
	if agents.EdgeAnswers(ctx, p.Paths, port) != nil {
		return ok("not tried: the edge does not answer")
	}
	edge := agents.EdgeAddress(port)
	// The edge may have asked the daemon at a bad moment: its verdict holds
	// for 200 ms.
	err = agents.TestMetered(ctx, p.Paths)
	for range 3 {
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
		err = agents.TestMetered(ctx, p.Paths)
	}
	if err != nil {
		return mend(Broken, "Go: "+err.Error(), meter(Install, "init"), meter(Start, "start"))
	}
	good, failed := []string{"Go"}, []string{}
	env := shellenv.Settings{Edge: edge, Bundle: p.Paths.Bundle(), BundleVariables: agents.BundleVariables}.Apply(os.Environ())
	results := make(chan result)
	kinds := clients(edge)
	for _, c := range kinds {
		go func() { results <- result{c.name, try(ctx, c.argv, env)} }()
	}
	for range kinds {
		switch r := <-results; {
		case r.err == nil:
			good = append(good, r.name)
		case errors.Is(r.err, errSlow):
			// A busy machine says nothing about trust.
			good = append(good, r.name+" (not known: it was too slow)")
		case !errors.Is(r.err, exec.ErrNotFound):
			failed = append(failed, r.name+": "+r.err.Error())
		}
	}
	slices.Sort(good)
	slices.Sort(failed)
	if len(failed) > 0 {
		return advise(Inconsistent, strings.Join(failed, "; ")+" (trusted by "+strings.Join(good, ", ")+")", "look at that program's own proxy and certificate settings; its calls pass unmetered where it refuses our certificate")
	}
	return ok("trusted by " + strings.Join(good, ", "))
}

var errSlow = errors.New("too slow")

type result struct {
	name string
	err  error
}

// try runs a client; its last words are the error.
func try(ctx context.Context, argv, env []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, argv[1:]...) // the clients above
	cmd.Env = env
	// A version manager's node is a script, and what that started would keep
	// the output open after its end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return errSlow
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return errors.New(last)
	}
	return err
}
