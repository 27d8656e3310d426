package launchd_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

const domainCapture = `gui/501 = {
	type = login
	handle = 100015
	active count = 3
	service count = 3
	creator = loginwindow[171]
	creator euid = 0
	session = Aqua

	services = {
		       0      0 	ai.wienerdog.dream
		     884      - 	com.example.agent
		       0    -15 	com.example.signaled
		       0   (fr) 	com.example.failed
		    nonsense
	}

	unmanaged processes = {
		com.apple.xpc.launchd.unmanaged.loginwindow.171 = {
			active count = 3
			services = {
				       1      0 	not.a.service
			}
		}
	}

	endpoints = {
		   0x280f    M   A   com.apple.finder
	}

	disabled services = {
		"com.apple.ftpd" => disabled
		"com.openssh.sshd" => enabled
	}
	properties = uncorked | audit check done
}
`

func TestParseDomainInfo(t *testing.T) {
	got, err := launchd.ParseDomainInfo([]byte(domainCapture))
	if err != nil {
		t.Fatal(err)
	}
	if got.Fields["handle"] != "100015" || got.Blocks["endpoints"] == "" {
		t.Errorf("the rest is lost: %v", got.Fields)
	}
	got.Fields, got.Blocks = nil, nil
	want := &launchd.DomainInfo{
		Target: "gui/501", Type: "login", Session: "Aqua", Creator: "loginwindow[171]",
		Services: []launchd.ListEntry{
			{Label: "ai.wienerdog.dream", Status: new(0)},
			{Label: "com.example.agent", PID: 884},
			{Label: "com.example.signaled", Status: new(-15)},
			{Label: "com.example.failed"},
		},
		Disabled: map[string]bool{"com.apple.ftpd": true, "com.openssh.sshd": false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseDomainInfo(f *testing.F) {
	f.Add([]byte(domainCapture))
	f.Fuzz(func(t *testing.T, data []byte) {
		if d, err := launchd.ParseDomainInfo(data); err == nil {
			for _, s := range d.Services {
				if s.Label == "" || s.PID < 0 {
					t.Errorf("service %+v", s)
				}
			}
		}
	})
}

// Every verb, against a launchd that knows them all.
func TestVerbs(t *testing.T) {
	m := newMachine(t, emulator.Knobs{})
	c, ctx := m.client, t.Context()
	if _, err := c.Blame(ctx, m.target); !errors.Is(err, launchd.ErrNotLoaded) {
		t.Errorf("Blame of nothing: %v", err)
	}
	m.apply()
	pid := m.print().PID
	info, err := c.PrintDomain(ctx, m.domain)
	if err != nil || info.Target != m.domain.String() || info.Session != "Aqua" {
		t.Fatalf("PrintDomain = %+v, %v", info, err)
	}
	is := func(e launchd.ListEntry) bool { return e.Label == label && e.PID == pid }
	if !slices.ContainsFunc(info.Services, is) {
		t.Errorf("PrintDomain lists %+v", info.Services)
	}
	if list, err := c.List(ctx); err != nil || !slices.ContainsFunc(list, is) {
		t.Errorf("List = %+v, %v", list, err)
	}
	if why, err := c.Blame(ctx, m.target); why != "speculative" || err != nil {
		t.Errorf("Blame = %q, %v", why, err)
	}
	if name, err := c.ManagerName(ctx); name != "Aqua" || err != nil {
		t.Errorf("ManagerName = %q, %v", name, err)
	}
	if version, err := c.Version(ctx); version == "" || err != nil {
		t.Errorf("Version = %q, %v", version, err)
	}
	set := c.Setenv(ctx, "KEY", "two words")
	if v, err := c.Getenv(ctx, "KEY"); v != "two words" || errors.Join(set, err) != nil {
		t.Errorf("Getenv = %q, %v", v, errors.Join(set, err))
	}
	unset := c.Unsetenv(ctx, "KEY")
	if v, err := c.Getenv(ctx, "KEY"); v != "" || errors.Join(unset, err) != nil {
		t.Errorf("Getenv = %q, %v", v, errors.Join(unset, err))
	}
	if err := c.Kill(ctx, "TERM", m.target); err != nil {
		t.Errorf("Kill: %v", err)
	}
	for end := time.Now().Add(time.Minute); m.print().PID == pid; {
		if time.Now().After(end) {
			t.Fatal("the job outlives its signal")
		}
	}
	if _, err := c.Kickstart(ctx, m.target, launchd.KickstartOptions{}); err != nil {
		t.Errorf("Kickstart: %v", err)
	}
}
