package doctor

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/mactools"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/upstream"
)

var proxyNames = []string{"HTTPS_PROXY", "https_proxy"}

// local is the port of this machine that a proxy's URL names.
func local(v string) (port int, ok bool) {
	u, err := url.Parse(v)
	if err != nil || v == "" {
		return 0, false
	}
	switch u.Hostname() {
	case "127.0.0.1", "localhost", "::1":
	default:
		return 0, false
	}
	port, err = strconv.Atoi(u.Port())
	return port, err == nil
}

// proxyVariables finds a variable that names a port of this machine where our
// edge does not answer: every program that follows it fails.
func (p *Patient) proxyVariables(ctx context.Context) Finding {
	var stale []string
	var fix []Command
	shell := false
	for _, name := range proxyNames {
		if v, err := p.Supervisor.Getenv(ctx, name); err == nil {
			if port, here := local(v); here && agents.EdgeAnswers(ctx, p.Paths, port) != nil {
				stale = append(stale, fmt.Sprintf("%s in launchd's environment names port %d, where no edge of ours answers", name, port))
				fix = append(fix, p.launchctl("unsetenv", name))
			}
		}
		if port, here := local(p.Getenv(name)); here && agents.EdgeAnswers(ctx, p.Paths, port) != nil {
			stale = append(stale, fmt.Sprintf("%s in this shell names port %d, where no edge of ours answers", name, port))
			shell = true
		}
	}
	if len(stale) == 0 {
		return ok("none is stale")
	}
	f := mend(Broken, strings.Join(stale, "; "), fix...)
	if shell {
		// No program can change its parent's environment.
		f.Next = strings.TrimPrefix(f.Next+" && unset HTTPS_PROXY https_proxy", " && ")
	}
	return f
}

// otherProxies tells of a proxy that the user has besides, and whether the
// meter goes through it.
func (p *Patient) otherProxies(context.Context) Finding {
	edgePort := agents.EdgePort(p.Paths)
	ours := func(u *url.URL) bool {
		port, here := local(u.String())
		return here && port == edgePort
	}
	found, err := upstream.FromEnvironment(p.Getenv, ours)
	if err != nil {
		return advise(Inconsistent, err.Error()+": \"halton-meter run\" leaves such a program unmetered", "name an http proxy in [upstream] proxy of "+p.Paths.Config())
	}
	adopted, err := upstream.Read(p.Paths.Upstream())
	if err != nil {
		return mend(Inconsistent, err.Error(), Command{Argv: []string{"rm", p.Paths.Upstream()}}, meter(Install, "init"))
	}
	going := adopted.Apply(p.conf.Upstream)
	via := "none"
	if going.Proxy != "" {
		via = "providers are reached through " + upstream.Adopted{Proxy: going.Proxy}.Redacted()
	}
	if found.Proxy != "" && going.Proxy != found.Proxy {
		if p.conf.Upstream.Proxy != "" {
			return advise(Inconsistent, found.From+" names "+found.Redacted()+", and [upstream] proxy in config.toml "+upstream.Adopted{Proxy: going.Proxy}.Redacted(), "let [upstream] proxy name the right one")
		}
		return mend(Inconsistent, found.From+" names "+found.Redacted()+", and the meter does not go through it", meter(Install, "init"))
	}
	return ok(via)
}

func (p *Patient) systemProxy(ctx context.Context) Finding {
	if !p.Tools.Available() {
		return ok("this system has none that the meter sets")
	}
	mode := p.Paths.Mode()
	edge := mactools.Edge{Host: "127.0.0.1", Port: agents.EdgePort(p.Paths)}
	on, err := p.Tools.PointsAt(ctx, edge)
	if err != nil {
		return advise(Inconsistent, err.Error(), "look at System Settings > Network > Proxies")
	}
	_, statErr := os.Stat(p.Paths.ProxyManaged())
	managed := statErr == nil
	switch {
	case mode != agents.ModeFull && len(on) > 0:
		return mend(Inconsistent, "the system proxy of "+strings.Join(on, ", ")+" is the edge, and the mode is "+mode, meter(Install, "init", "--full"))
	case mode == agents.ModeFull && !managed:
		return mend(Inconsistent, "the mode is full, and there is no "+p.Paths.ProxyManaged(), meter(Install, "init", "--full"))
	case mode == agents.ModeFull && len(on) == 0:
		if svc, err := p.look(ctx, agents.Daemon); err == nil && (svc == nil || svc.PID == 0) {
			return ok("off while the daemon is down")
		}
		return mend(Inconsistent, "the mode is full, and no service's proxy is the edge", meter(Install, "init", "--full"))
	}
	e, err := p.Tools.Effective(ctx)
	if err == nil && e.PAC != "" && mode == agents.ModeFull {
		return advise(Inconsistent, "a PAC file ("+e.PAC+") decides before the system proxy does", "halton-meter init --apps")
	}
	if len(on) > 0 {
		return ok("the edge, for " + strings.Join(on, ", "))
	}
	return ok("off (mode " + mode + ")")
}

// shellFiles looks for our block where the mode wants it, and nowhere else.
func (p *Patient) shellFiles(context.Context) Finding {
	wanted := p.Paths.Mode() == agents.ModeApps || p.Paths.Mode() == agents.ModeFull
	var wrong, have []string
	for _, f := range p.RCFiles {
		there, current, err := f.Installed()
		switch {
		case err != nil:
			return advise(Inconsistent, err.Error(), "remove the lines of the block from "+f.Path+", then halton-meter init --"+p.Paths.Mode())
		case there && wanted && !current:
			wrong = append(wrong, f.Path+" has an old line")
		case there && !wanted:
			wrong = append(wrong, f.Path+" has our line, which mode "+p.Paths.Mode()+" does not want")
		case there:
			have = append(have, f.Path)
		}
	}
	if wanted && len(have) == 0 && len(wrong) == 0 {
		// --no-shell-rc leaves it to the user.
		return ok("no shell file has our line: new shells are not metered unless they evaluate \"halton-meter env\"")
	}
	if len(wrong) > 0 {
		if !wanted {
			return mend(Inconsistent, strings.Join(wrong, "; "), meter(Install, "init"))
		}
		return mend(Inconsistent, strings.Join(wrong, "; "), meter(Install, "init", "--"+p.Paths.Mode()))
	}
	if len(have) == 0 {
		return ok("none of ours")
	}
	return ok(strings.Join(have, ", "))
}

// sentinels finds marks that contradict each other.
func (p *Patient) sentinels(context.Context) Finding {
	mode := p.Paths.Mode()
	var wrong []string
	var fix []Command
	remove := func(path, why string) {
		wrong = append(wrong, path+" "+why)
		fix = append(fix, Command{Argv: []string{"rm", path}})
	}
	there := func(path string) bool { _, err := os.Stat(path); return err == nil }
	if there(p.Paths.ProxyManaged()) && mode != agents.ModeFull {
		remove(p.Paths.ProxyManaged(), "is left over from mode full")
	}
	if there(p.Paths.AppsManaged()) && mode == agents.ModeEnvOnly {
		remove(p.Paths.AppsManaged(), "is left over from mode apps")
	}
	if there(p.Paths.GracefulShutdown()) {
		if _, stopped := agents.Stopped(p.Paths, p.Now()); !stopped {
			remove(p.Paths.GracefulShutdown(), "has expired")
		}
	}
	if there(p.Paths.Uninstalled()) {
		remove(p.Paths.Uninstalled(), "says that the meter was uninstalled, and it is installed")
	}
	if len(wrong) == 0 {
		return ok("consistent")
	}
	return mend(Inconsistent, strings.Join(wrong, "; "), fix...)
}
