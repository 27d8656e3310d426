package mactools

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Services lists the network services that can carry a proxy setting now: the
// enabled ones that have a device. A VPN's entry has none, and networksetup
// refuses to set a proxy for it.
func (t Tools) Services(ctx context.Context) ([]string, error) {
	out, err := t.do(ctx, "networksetup", "-listnetworkserviceorder")
	if err != nil {
		return nil, err
	}
	return parseServiceOrder(out), nil
}

// parseServiceOrder reads pairs of lines:
//
//	(1) Wi-Fi
//	(Hardware Port: Wi-Fi, Device: en0)
//
// A disabled service has an asterisk for its number.
func parseServiceOrder(out string) []string {
	var names []string
	name := ""
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\r\n")
		if device, ok := strings.CutPrefix(line, "(Hardware Port: "); ok {
			_, device, _ = strings.Cut(device, ", Device: ")
			if name != "" && strings.TrimSuffix(device, ")") != "" {
				names = append(names, name)
			}
			name = ""
			continue
		}
		number, rest, ok := strings.Cut(strings.TrimPrefix(line, "("), ") ")
		if _, err := strconv.Atoi(number); ok && err == nil && strings.HasPrefix(line, "(") {
			name = rest
		}
	}
	return names
}

// Endpoint is one proxy of a service.
type Endpoint struct {
	Enabled bool   `json:"enabled"`
	Server  string `json:"server"`
	Port    int    `json:"port"`
	// Authenticated: macOS sends a name and password, which only it knows.
	Authenticated bool `json:"authenticated,omitempty"`
}

func (e Endpoint) at(host string, port int) bool { return e.Server == host && e.Port == port }

// Proxies are the proxy settings of a service.
type Proxies struct {
	Service   string   `json:"service"`
	Web       Endpoint `json:"web"`    // for http
	Secure    Endpoint `json:"secure"` // for https
	AutoURL   string   `json:"auto_url,omitempty"`
	Auto      bool     `json:"auto"`      // AutoURL is in use
	Discovery bool     `json:"discovery"` // WPAD
	Bypass    []string `json:"bypass"`    // hosts that are reached directly
}

// Automatic reports whether a PAC file or WPAD decides for the service.
func (p Proxies) Automatic() bool { return p.Auto || p.Discovery }

// Proxies reads the settings of one service.
func (t Tools) Proxies(ctx context.Context, service string) (Proxies, error) {
	p := Proxies{Service: service}
	for _, e := range []struct {
		verb string
		into *Endpoint
	}{{"-getwebproxy", &p.Web}, {"-getsecurewebproxy", &p.Secure}} {
		out, err := t.do(ctx, "networksetup", e.verb, service)
		if err != nil {
			return p, err
		}
		if *e.into, err = parseEndpoint(out); err != nil {
			return p, fmt.Errorf("networksetup %s %s: %w", e.verb, service, err)
		}
	}
	out, err := t.do(ctx, "networksetup", "-getautoproxyurl", service)
	if err != nil {
		return p, err
	}
	f := fields(out)
	p.Auto = f["Enabled"] == "Yes"
	if p.AutoURL = f["URL"]; p.AutoURL == "(null)" {
		p.AutoURL = ""
	}
	if out, err = t.do(ctx, "networksetup", "-getproxyautodiscovery", service); err != nil {
		return p, err
	}
	p.Discovery = fields(out)["Auto Proxy Discovery"] == "On"
	if out, err = t.do(ctx, "networksetup", "-getproxybypassdomains", service); err != nil {
		return p, err
	}
	p.Bypass = parseBypass(out)
	return p, nil
}

// parseEndpoint refuses what it does not understand: a snapshot of it could
// not be restored.
func parseEndpoint(out string) (Endpoint, error) {
	f := fields(out)
	var e Endpoint
	switch f["Enabled"] {
	case "Yes":
		e.Enabled = true
	case "No":
	default:
		return e, fmt.Errorf("read proxy: %q says neither Enabled: Yes nor No", out)
	}
	e.Server = f["Server"]
	port, err := strconv.Atoi(f["Port"])
	if err != nil || port < 0 || port > 65535 {
		return e, fmt.Errorf("read proxy: port %q", f["Port"])
	}
	e.Port = port
	e.Authenticated = f["Authenticated Proxy Enabled"] == "1"
	return e, nil
}

// fields reads lines of "Name: value".
func fields(out string) map[string]string {
	f := map[string]string{}
	for line := range strings.Lines(out) {
		name, value, ok := strings.Cut(line, ":")
		if ok {
			f[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return f
}

// parseBypass reads a host a line; a sentence says that there is none.
func parseBypass(out string) []string {
	if strings.HasPrefix(out, "There aren't any bypass domains") {
		return nil
	}
	var hosts []string
	for line := range strings.Lines(out) {
		if host := strings.TrimSpace(line); host != "" {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
