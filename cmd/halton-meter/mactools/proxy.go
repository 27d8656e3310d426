package mactools

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Snapshot is what the machine's proxy settings were.
type Snapshot struct {
	TakenAt  time.Time `json:"taken_at"`
	Services []Proxies `json:"services"`
}

// Snapshot reads the settings of all services. What points at edge already is
// recorded as off: it was set by an installation whose snapshot is lost.
func (t Tools) Snapshot(ctx context.Context, edge Edge, now time.Time) (Snapshot, error) {
	s := Snapshot{TakenAt: now.UTC()}
	names, err := t.Services(ctx)
	if err != nil {
		return s, fmt.Errorf("take snapshot of the system proxy: %w", err)
	}
	for _, name := range names {
		p, err := t.Proxies(ctx, name)
		if err != nil {
			return s, fmt.Errorf("take snapshot of the system proxy: %w", err)
		}
		for _, e := range []*Endpoint{&p.Web, &p.Secure} {
			if e.at(edge.Host, edge.Port) {
				*e = Endpoint{}
			}
		}
		s.Services = append(s.Services, p)
	}
	return s, nil
}

// Automatic is the first service whose proxy a PAC file or WPAD chooses. Such
// a choice is made anew for each URL and cannot be handed to an upstream.
func (s Snapshot) Automatic() (service string, found bool) {
	for _, p := range s.Services {
		if p.Automatic() {
			return p.Service, true
		}
	}
	return "", false
}

// Upstream is the proxy for https that the user had, if any.
func (s Snapshot) Upstream() (e Endpoint, found bool) {
	for _, p := range s.Services {
		if p.Secure.Enabled && p.Secure.Server != "" {
			return p.Secure, true
		}
	}
	return Endpoint{}, false
}

// NoProxy is what that service reaches directly, as the environment variable
// NO_PROXY says it.
func (s Snapshot) NoProxy() string {
	for _, p := range s.Services {
		if !p.Secure.Enabled || p.Secure.Server == "" {
			continue
		}
		var hosts []string
		for _, host := range p.Bypass {
			hosts = append(hosts, noProxy(host))
		}
		return strings.Join(hosts, ",")
	}
	return ""
}

// noProxy gives a network the zeros that macOS leaves out at its end, as in
// "169.254/16".
func noProxy(pattern string) string {
	addr, bits, ok := strings.Cut(pattern, "/")
	if ok && strings.Trim(addr, "0123456789.") == "" {
		return addr + strings.Repeat(".0", max(3-strings.Count(addr, "."), 0)) + "/" + bits
	}
	return pattern
}

// Idle is the first service with a proxy for https other than the one that
// programs use now, a host:port, "" for none. It will be in use in another
// place, and that one not.
func (s Snapshot) Idle(used string) (p Proxies, found bool) {
	for _, p := range s.Services {
		e := p.Secure
		if e.Enabled && e.Server != "" && net.JoinHostPort(e.Server, strconv.Itoa(e.Port)) != used {
			return p, true
		}
	}
	return Proxies{}, false
}

// Edge is where the system proxy is to point.
type Edge struct {
	Host string
	Port int
}

func (e Edge) args(verb, service string) []string {
	return []string{verb, service, e.Host, strconv.Itoa(e.Port), "off"}
}

// loopback is reached directly: programs of this machine that talk to each
// other must not depend on a proxy, and the edge refuses them.
var loopback = []string{"localhost", "127.0.0.1", "::1"}

// PointAt makes edge the proxy of every service, for http and https. What a
// service lacks is set; what it has is left alone.
func (t Tools) PointAt(ctx context.Context, edge Edge) error {
	names, err := t.Services(ctx)
	if err != nil {
		return fmt.Errorf("set the system proxy: %w", err)
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, t.point(ctx, name, edge))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("set the system proxy: %w", err)
	}
	return nil
}

func (t Tools) point(ctx context.Context, service string, edge Edge) error {
	p, err := t.Proxies(ctx, service)
	if err != nil {
		return err
	}
	want := Endpoint{Enabled: true, Server: edge.Host, Port: edge.Port}
	bypass := p.Bypass
	for _, host := range loopback {
		if !slices.Contains(bypass, host) {
			bypass = append(slices.Clip(bypass), host)
		}
	}
	// First the hosts, so that there is no moment in which localhost is led
	// through the proxy.
	if len(bypass) != len(p.Bypass) {
		if err := t.setBypass(ctx, service, bypass); err != nil {
			return err
		}
	}
	if p.Web != want {
		// Setting a proxy enables it.
		if _, err := t.do(ctx, "networksetup", edge.args("-setwebproxy", service)...); err != nil {
			return err
		}
	}
	if p.Secure != want {
		if _, err := t.do(ctx, "networksetup", edge.args("-setsecurewebproxy", service)...); err != nil {
			return err
		}
	}
	return nil
}

// Release turns the proxy off wherever it points at edge, and touches nothing
// else. It goes on after a failure: each service that is freed counts.
func (t Tools) Release(ctx context.Context, edge Edge) error {
	return t.each(ctx, "turn the system proxy off", func(now Proxies) error {
		var errs []error
		if now.Web.Enabled && now.Web.at(edge.Host, edge.Port) {
			errs = append(errs, t.state(ctx, "-setwebproxystate", now.Service, false))
		}
		if now.Secure.Enabled && now.Secure.at(edge.Host, edge.Port) {
			errs = append(errs, t.state(ctx, "-setsecurewebproxystate", now.Service, false))
		}
		return errors.Join(errs...)
	})
}

// Restore puts back what s says, wherever the proxy still points at edge. A
// service that s does not know is turned off.
func (t Tools) Restore(ctx context.Context, s Snapshot, edge Edge) error {
	return t.each(ctx, "restore the system proxy", func(now Proxies) error {
		before := Proxies{Service: now.Service, Bypass: now.Bypass}
		for _, p := range s.Services {
			if p.Service == now.Service {
				before = p
			}
		}
		var errs []error
		ours := false
		if now.Web.at(edge.Host, edge.Port) {
			ours = true
			errs = append(errs, t.restore(ctx, "-setwebproxy", before.Service, before.Web))
		}
		if now.Secure.at(edge.Host, edge.Port) {
			ours = true
			errs = append(errs, t.restore(ctx, "-setsecurewebproxy", before.Service, before.Secure))
		}
		if ours && !slices.Equal(now.Bypass, before.Bypass) {
			errs = append(errs, t.setBypass(ctx, before.Service, before.Bypass))
		}
		return errors.Join(errs...)
	})
}

// PointsAt lists the services whose https proxy is edge and on.
func (t Tools) PointsAt(ctx context.Context, edge Edge) ([]string, error) {
	var names []string
	err := t.each(ctx, "read the system proxy", func(now Proxies) error {
		if now.Secure.Enabled && now.Secure.at(edge.Host, edge.Port) {
			names = append(names, now.Service)
		}
		return nil
	})
	return names, err
}

func (t Tools) each(ctx context.Context, what string, do func(Proxies) error) error {
	names, err := t.Services(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	var errs []error
	for _, name := range names {
		now, err := t.Proxies(ctx, name)
		if err == nil {
			err = do(now)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// restore sets server, port and state, in that order: setting a proxy turns it
// on. Where there was none it is only turned off, for networksetup takes no
// empty server with port 0.
func (t Tools) restore(ctx context.Context, verb, service string, e Endpoint) error {
	if e.Server != "" {
		if _, err := t.do(ctx, "networksetup", Edge{e.Server, e.Port}.args(verb, service)...); err != nil {
			return err
		}
	}
	return t.state(ctx, verb+"state", service, e.Enabled && e.Server != "")
}

func (t Tools) state(ctx context.Context, verb, service string, on bool) error {
	word := "off"
	if on {
		word = "on"
	}
	_, err := t.do(ctx, "networksetup", verb, service, word)
	return err
}

// setBypass replaces the list; the word Empty clears it.
func (t Tools) setBypass(ctx context.Context, service string, hosts []string) error {
	if len(hosts) == 0 {
		hosts = []string{"Empty"}
	}
	_, err := t.do(ctx, "networksetup", append([]string{"-setproxybypassdomains", service}, hosts...)...)
	return err
}
