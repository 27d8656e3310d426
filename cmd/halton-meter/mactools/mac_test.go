package mactools

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mac answers as networksetup does, and keeps what it is told. The texts are
// those of macOS 13 to 15 as people have published them.
type mac struct {
	t        *testing.T
	order    string // -listnetworkserviceorder
	services map[string]*Proxies
	// fail is the answer to a call that begins with the key.
	fail  map[string]Output
	calls []string
}

const twoServices = `An asterisk (*) denotes that a network service is disabled.
(1) Wi-Fi
(Hardware Port: Wi-Fi, Device: en0)

(2) USB 10/100/1000 LAN
(Hardware Port: USB 10/100/1000 LAN, Device: en7)

(*) Thunderbolt Bridge
(Hardware Port: Thunderbolt Bridge, Device: bridge0)

(3) Office (VPN)
(Hardware Port: com.example.vpn, Device: )

`

func newMac(t *testing.T) *mac {
	return &mac{t: t, order: twoServices, fail: map[string]Output{}, services: map[string]*Proxies{
		"Wi-Fi":               {Service: "Wi-Fi", Bypass: []string{"*.local", "169.254/16"}},
		"USB 10/100/1000 LAN": {Service: "USB 10/100/1000 LAN"},
	}}
}

func (m *mac) tools() Tools { return Tools{Run: m.run} }

// changes are the calls that were not questions.
func (m *mac) changes() []string {
	var list []string
	for _, c := range m.calls {
		if strings.Contains(c, " -set") {
			list = append(list, c)
		}
	}
	return list
}

func (m *mac) run(_ context.Context, path string, args ...string) (Output, error) {
	call := filepath.Base(path) + " " + strings.Join(args, " ")
	m.calls = append(m.calls, call)
	for prefix, out := range m.fail {
		if strings.HasPrefix(call, prefix) {
			return out, nil
		}
	}
	if args[0] == "-listnetworkserviceorder" {
		return Output{Stdout: m.order}, nil
	}
	s := m.services[args[1]]
	if s == nil {
		return Output{Stdout: args[1] + " is not a recognized network service.\n** Error: The parameters were not valid.\n", Code: 4}, nil
	}
	e := &s.Web
	if strings.Contains(args[0], "secure") {
		e = &s.Secure
	}
	switch args[0] {
	case "-getwebproxy", "-getsecurewebproxy":
		return Output{Stdout: e.text()}, nil
	case "-getautoproxyurl":
		url := s.AutoURL
		if url == "" {
			url = "(null)"
		}
		return Output{Stdout: fmt.Sprintf("URL: %s\nEnabled: %s\n", url, yes(s.Auto))}, nil
	case "-getproxyautodiscovery":
		return Output{Stdout: "Auto Proxy Discovery: " + map[bool]string{true: "On", false: "Off"}[s.Discovery] + "\n"}, nil
	case "-getproxybypassdomains":
		if len(s.Bypass) == 0 {
			return Output{Stdout: "There aren't any bypass domains set on " + s.Service + ".\n"}, nil
		}
		return Output{Stdout: strings.Join(s.Bypass, "\n") + "\n"}, nil
	case "-setwebproxy", "-setsecurewebproxy":
		port, err := strconv.Atoi(args[3])
		if err != nil || args[2] == "" || args[4] != "off" {
			m.t.Errorf("bad call: %s", call)
		}
		*e = Endpoint{Enabled: true, Server: args[2], Port: port}
	case "-setwebproxystate", "-setsecurewebproxystate":
		e.Enabled = args[2] == "on"
	case "-setproxybypassdomains":
		s.Bypass = slices.Clone(args[2:])
		if slices.Equal(s.Bypass, []string{"Empty"}) {
			s.Bypass = nil
		}
	default:
		m.t.Errorf("unexpected call: %s", call)
	}
	return Output{}, nil
}

func (e Endpoint) text() string {
	auth := 0
	if e.Authenticated {
		auth = 1
	}
	return fmt.Sprintf("Enabled: %s\nServer: %s\nPort: %d\nAuthenticated Proxy Enabled: %d\n", yes(e.Enabled), e.Server, e.Port, auth)
}

func yes(b bool) string {
	if b {
		return "Yes"
	}
	return "No"
}
