package doctor

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// variables of programs that lead their calls somewhere.
var (
	proxyNames = []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}
	// usual are the providers of most calls.
	usual        = []string{"api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com"}
	baseURLNames = []string{"ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"}
)

// local is the port of this machine that a proxy's URL names. Clients take one
// without a scheme too.
func local(v string) (port int, ok bool) {
	if v == "" {
		return 0, false
	}
	if !strings.Contains(v, "://") {
		v = "http://" + v
	}
	u, err := url.Parse(v)
	if err != nil {
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

// environment is one that programs inherit.
type environment struct {
	name  string
	get   func(string) string
	unset func(string) (typed string, c Command) // typed, where no program can
}

func (p *Patient) environments(ctx context.Context) []environment {
	return []environment{
		{"launchd's environment", func(name string) string { return p.loginVariable(ctx, name) }, func(name string) (string, Command) {
			return "", p.launchctl("unsetenv", name)
		}},
		// No program can change its parent's environment.
		{"this shell", p.Getenv, func(name string) (string, Command) { return "unset " + name, Command{} }},
	}
}

// proxyVariables finds what leads programs to a place where nobody is: every
// one that follows it fails. A proxy of the user's own on this machine is none
// of it, as long as it answers.
func (p *Patient) proxyVariables(ctx context.Context) Finding {
	var wrong, typed []string
	var fix []Command
	verdict := Broken
	for _, env := range p.environments(ctx) {
		add := func(name, says string) {
			wrong = append(wrong, name+" in "+env.name+" "+says)
			if port, here := local(env.get(name)); here && port == agents.EdgePort(p.Paths) {
				fix = append(fix, meter(Start, "start")) // it is right as soon as the edge is back
				return
			}
			if t, c := env.unset(name); t != "" {
				typed = append(typed, t)
			} else {
				fix = append(fix, c)
			}
		}
		for _, name := range proxyNames {
			if port, here := local(env.get(name)); here {
				if why := p.stale(ctx, port); why != "" {
					add(name, why)
				}
			}
		}
		for _, name := range baseURLNames {
			v := env.get(name)
			if port, here := local(v); here && p.edgesPort(port) && leadsToARoute(v) {
				if why := p.stale(ctx, port); why != "" {
					add(name, why)
				}
			}
		}
		for _, name := range agents.BundleVariables {
			// Node goes on with its own roots.
			if v := env.get(name); v != "" && name != "NODE_EXTRA_CA_CERTS" {
				if _, err := os.Stat(v); err != nil {
					add(name, "names "+v+", which cannot be read: programs can verify no host")
				}
			}
		}
		for _, name := range []string{"no_proxy", "NO_PROXY"} {
			if excludesAll(env.get(name)) {
				if len(wrong) == 0 {
					verdict = Inconsistent
				}
				add(name, "keeps all providers from the proxy: nothing is metered there")
			}
		}
	}
	if len(wrong) == 0 {
		return ok("none is stale")
	}
	f := mend(verdict, strings.Join(wrong, "; "), fix...)
	f.Next = strings.Join(append(slices.DeleteFunc([]string{f.Next}, func(s string) bool { return s == "" }), typed...), " && ")
	return f
}

// stale says what is wrong with a port that a variable leads to, "" if nothing.
func (p *Patient) stale(ctx context.Context, port int) string {
	err := agents.EdgeAnswers(ctx, p.Paths, port)
	if err == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, dialErr := (&net.Dialer{}).DialContext(ctx, "tcp", agents.EdgeAddress(port))
	if dialErr != nil {
		return fmt.Sprintf("names port %d, where no edge of ours answers, nor anybody else", port)
	}
	conn.Close()
	if p.edgesPort(port) {
		return fmt.Sprintf("names port %d, where no edge of ours answers, but another program", port)
	}
	return ""
}

// edgesPort reports whether our edge may be, or may have been, on a port.
func (p *Patient) edgesPort(port int) bool {
	choice, usual := agents.EdgeChoice(p.conf.Daemon.EdgePort), agents.EdgeChoice(0)
	return port == agents.EdgePort(p.Paths) || port == choice.Preferred || port == usual.Preferred || slices.Contains(usual.Fallbacks, port)
}

// leadsToARoute reports whether a base URL is one of the edge's.
func leadsToARoute(v string) bool {
	u, err := url.Parse(v)
	return err == nil && (strings.HasPrefix(u.Path, "/p/") || slices.ContainsFunc(provider.BaseURLs(), func(b provider.BaseURL) bool {
		return strings.HasPrefix(u.Path+"/", b.Prefix+"/")
	}))
}

// excludesAll reports whether a NO_PROXY is for the providers of most calls.
func excludesAll(list string) bool {
	return !slices.ContainsFunc(usual, func(host string) bool { return !shellenv.Excludes(list, host) })
}

// guiEnvironment compares what GUI programs inherit with what the mode wants.
func (p *Patient) guiEnvironment(ctx context.Context) Finding {
	mode := p.Paths.Mode()
	settings := agents.Settings(p.Paths)
	var have, lack []string
	var clear []Command
	for _, name := range append([]string{"HTTPS_PROXY", "https_proxy"}, agents.BundleVariables...) {
		v := p.loginVariable(ctx, name)
		switch {
		case p.mute != nil:
			return ok("not known: " + p.mute.Error())
		case v != "" && slices.Contains(settings.Ours([]string{name + "=" + v}), name):
			have = append(have, name)
			clear = append(clear, p.launchctl("unsetenv", name))
		default:
			lack = append(lack, name)
		}
	}
	wanted := mode == agents.ModeApps || mode == agents.ModeFull
	switch {
	case wanted && len(lack) > 0:
		return mend(Inconsistent, strings.Join(lack, ", ")+" of launchd's environment does not lead to the edge: GUI programs are not metered, or do not trust it", meter(Install, "init", "--"+mode))
	case !wanted && len(have) > 0:
		return mend(Inconsistent, strings.Join(have, ", ")+" of launchd's environment leads GUI programs to the edge, which mode "+mode+" does not want", clear...)
	case !wanted:
		return ok("none of ours")
	}
	return ok(strings.Join(have, ", "))
}
