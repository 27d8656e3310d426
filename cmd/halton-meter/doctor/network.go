package doctor

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"strings"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/mactools"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/upstream"
)

// otherProxies tells of a proxy that the user has besides, and whether the
// meter goes through it.
func (p *Patient) otherProxies(ctx context.Context) Finding {
	edgePort := agents.EdgePort(p.Paths)
	ours := func(u *url.URL) bool {
		port, here := local(u.String())
		return here && port == edgePort
	}
	found, err := upstream.FromEnvironment(p.Getenv, ours)
	if err != nil {
		return advise(Inconsistent, err.Error()+": \"halton-meter run\" leaves such a program unmetered", "name an http proxy in [upstream] proxy of "+p.Paths.Config())
	}
	if port, here := local(found.Proxy); here && p.stale(ctx, port) != "" {
		return ok(found.From + " names one that is not there, and must not be adopted") // it is told already
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

// upstream asks the proxy that the meter goes through whether it is there:
// without it no metered call arrives.
func (p *Patient) upstream(ctx context.Context) Finding {
	if err := agents.UpstreamAnswers(ctx, p.Paths); err != nil {
		return advise(Broken, err.Error(), "start that proxy, or see the evidence")
	}
	up, err := agents.Upstream(p.Paths, p.conf)
	switch {
	case err != nil:
		return ok("not known: " + err.Error())
	case up.Proxy == "":
		return ok("providers are reached directly")
	}
	return ok(upstream.Adopted{Proxy: up.Proxy}.Redacted() + " answers")
}

func (p *Patient) systemProxy(ctx context.Context) Finding {
	mode := p.Paths.Mode()
	if !p.Tools.Available() {
		if mode == agents.ModeFull {
			return mend(Inconsistent, "the mode is full, and this system has no proxy that the meter sets", meter(Install, "init", "--apps"))
		}
		return ok("this system has none that the meter sets")
	}
	edge := mactools.Edge{Host: "127.0.0.1", Port: agents.EdgePort(p.Paths)}
	on, err := p.Tools.PointsAt(ctx, edge)
	if err != nil {
		return advise(Inconsistent, err.Error(), "look at System Settings > Network > Proxies")
	}
	_, statErr := os.Stat(p.Paths.ProxyManaged())
	managed := statErr == nil
	switch {
	case mode != agents.ModeFull && len(on) > 0:
		var off []Command
		for _, service := range on {
			for _, verb := range []string{"-setwebproxystate", "-setsecurewebproxystate"} {
				off = append(off, Command{Argv: []string{"networksetup", verb, service, "off"}, Order: Start})
			}
		}
		if managed {
			off = []Command{meter(Install, "init", "--"+mode)} // it knows what was there before
		}
		return mend(Inconsistent, "the system proxy of "+strings.Join(on, ", ")+" is the edge, and the mode is "+mode, off...)
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
	switch {
	case mode == agents.ModeFull, !there(p.Paths.ProxyManaged()):
	case p.Tools.Available():
		wrong = append(wrong, p.Paths.ProxyManaged()+" is left over from mode full")
		fix = append(fix, meter(Install, "init", "--"+mode)) // it puts the proxy back
	default:
		remove(p.Paths.ProxyManaged(), "is left over from mode full")
	}
	apps := mode == agents.ModeApps || mode == agents.ModeFull
	switch data, err := os.ReadFile(p.Paths.AppsManaged()); {
	case err == nil && mode == agents.ModeEnvOnly:
		wrong = append(wrong, p.Paths.AppsManaged()+" is left over from mode apps")
		fix = append(fix, meter(Install, "init")) // it clears launchd's environment
	case err != nil && apps:
		wrong = append(wrong, p.Paths.AppsManaged()+", the note of what is set in launchd's environment, is missing")
		fix = append(fix, meter(Install, "init", "--"+mode))
	case err == nil && !json.Valid(data):
		wrong = append(wrong, p.Paths.AppsManaged()+" cannot be read")
		fix = append(fix, meter(Install, "init", "--"+mode))
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
