package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
)

// systemProxy tells of each network service whether its proxy is the edge.
func (s *surveyor) systemProxy(ctx context.Context) {
	c := component{Name: "system proxy", State: "off", Detail: "the meter sets none on this system"}
	defer func() { s.add(c) }()
	if !s.tools.Available() {
		return
	}
	full := s.rep.InstallMode == agents.ModeFull
	services, err := s.tools.Services(ctx)
	if err != nil {
		c.State, c.Detail, c.bad = "unknown", err.Error(), full
		return
	}
	edge := agents.SystemEdge(s.paths)
	on := 0
	var parts []string
	for _, service := range services {
		p, err := s.tools.Proxies(ctx, service)
		says := "off"
		switch secure := p.Secure; {
		case err != nil:
			says = err.Error()
		case p.Automatic():
			says = "automatic"
		case secure.Enabled && secure.Server == edge.Host && secure.Port == edge.Port:
			says = "the edge"
			on++
		case secure.Enabled:
			says = fmt.Sprintf("%s:%d", secure.Server, secure.Port)
		}
		parts = append(parts, service+": "+says)
	}
	c.Detail = strings.Join(parts, " · ")
	switch {
	case on > 0:
		c.State, c.good, c.bad = "on", full, !full
	case full:
		c.State, c.bad = "off", true
	default:
		c.State = fmt.Sprintf("off (%s mode)", s.rep.InstallMode)
	}
}

// sentinels tells which marks are there, and whether they fit the mode.
func (s *surveyor) sentinels() {
	there := func(path string) bool { _, err := os.Stat(path); return err == nil }
	sign := map[bool]string{true: "✓", false: "-"}
	proxy, apps := there(s.paths.ProxyManaged()), there(s.paths.AppsManaged())
	full := s.rep.InstallMode == agents.ModeFull
	c := component{
		Name: "sentinels", State: "consistent",
		Detail: fmt.Sprintf("proxy-managed: %s  apps-managed: %s  graceful-shutdown: ", sign[proxy], sign[apps]),
	}
	if proxy != full || apps != (full || s.rep.InstallMode == agents.ModeApps) {
		c.State, c.bad = "inconsistent", true
	}
	if left, stopped := agents.Stopped(s.paths, s.now()); stopped {
		c.Detail += fmt.Sprintf("for another %d s", int(left.Seconds())+1)
	} else {
		c.Detail += "-"
	}
	s.add(c)
}
