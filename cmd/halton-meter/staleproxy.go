package main

import (
	"context"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/term"
)

// warnOfStaleProxy warns when a proxy variable, in launchd's environment or
// in this shell's, names a port of this machine at which our edge does not
// answer: every tool that follows it fails. The daemon itself never does.
func (s *starting) warnOfStaleProxy(ctx context.Context) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		if v, err := s.supervisor.Getenv(ctx, name); err == nil && s.stale(ctx, v) {
			term.Warn(os.Stderr, "%s=%s is set in launchd's environment (launchctl getenv %s), and no edge of ours answers there; clear it with: %s",
				name, redacted(v), name, s.unsetenv(name))
		}
		if v := os.Getenv(name); s.stale(ctx, v) {
			term.Warn(os.Stderr, "%s=%s is set in this shell, and no edge of ours answers there; clear it with: unset %s", name, redacted(v), name)
		}
	}
}

func (s *starting) unsetenv(name string) string {
	return strings.Join(s.supervisor.LaunchctlCommand(), " ") + " unsetenv " + name
}

// stale reports whether v names a port of this machine that is not our edge.
func (s *starting) stale(ctx context.Context, v string) bool {
	u, err := url.Parse(v)
	if v == "" || err != nil {
		return false
	}
	switch u.Hostname() {
	case "127.0.0.1", "localhost", "::1":
	default:
		// A company's proxy is not ours to judge.
		return false
	}
	port, err := strconv.Atoi(u.Port())
	return err == nil && agents.EdgeAnswers(ctx, s.paths, port) != nil
}

// redacted is a proxy URL without its password.
func redacted(v string) string {
	u, err := url.Parse(v)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}
