package mactools

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	edge    = Edge{"127.0.0.1", 8081}
	company = Endpoint{Enabled: true, Server: "proxy.corp.example", Port: 3128}
)

func TestServicesThatCanCarryAProxy(t *testing.T) {
	t.Parallel()
	got, err := newMac(t).tools().Services(t.Context())
	if want := []string{"Wi-Fi", "USB 10/100/1000 LAN"}; err != nil || !slices.Equal(got, want) {
		t.Fatalf("services %q, %v; want %q", got, err, want)
	}
	for text, want := range map[string]int{"": 0, "(1) A\n": 0, "(Hardware Port: X, Device: en0)\n": 0, "(1) A) B\n(Hardware Port: A, Device: en0)\n": 1} {
		if got := parseServiceOrder(text); len(got) != want {
			t.Errorf("%q: services %q, want %d", text, got, want)
		}
	}
}

func TestTheCallsThatSetAndRestore(t *testing.T) {
	t.Parallel()
	m := newMac(t)
	m.services["USB 10/100/1000 LAN"].Secure = company
	tools, ctx := m.tools(), t.Context()
	before, err := tools.Snapshot(ctx, edge, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if changed := m.changes(); len(changed) != 0 {
		t.Fatalf("a snapshot changes %q", changed)
	}
	if up, ok := before.Upstream(); !ok || up != company {
		t.Fatalf("upstream %+v, %v", up, ok)
	}
	if err := tools.PointAt(ctx, edge); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"networksetup -setproxybypassdomains Wi-Fi *.local 169.254/16 localhost 127.0.0.1 ::1",
		"networksetup -setwebproxy Wi-Fi 127.0.0.1 8081 off",
		"networksetup -setsecurewebproxy Wi-Fi 127.0.0.1 8081 off",
		"networksetup -setproxybypassdomains USB 10/100/1000 LAN localhost 127.0.0.1 ::1",
		"networksetup -setwebproxy USB 10/100/1000 LAN 127.0.0.1 8081 off",
		"networksetup -setsecurewebproxy USB 10/100/1000 LAN 127.0.0.1 8081 off",
	}
	if diff := cmp.Diff(want, m.changes()); diff != "" {
		t.Fatal(diff)
	}
	m.calls = nil
	if err := tools.PointAt(ctx, edge); err != nil || len(m.changes()) != 0 {
		t.Fatalf("the second time: %v, %q", err, m.changes())
	}
	if err := tools.Restore(ctx, before, edge); err != nil {
		t.Fatal(err)
	}
	want = []string{
		"networksetup -setwebproxystate Wi-Fi off",
		"networksetup -setsecurewebproxystate Wi-Fi off",
		"networksetup -setproxybypassdomains Wi-Fi *.local 169.254/16",
		"networksetup -setwebproxystate USB 10/100/1000 LAN off",
		"networksetup -setsecurewebproxy USB 10/100/1000 LAN proxy.corp.example 3128 off",
		"networksetup -setsecurewebproxystate USB 10/100/1000 LAN on",
		"networksetup -setproxybypassdomains USB 10/100/1000 LAN Empty",
	}
	if diff := cmp.Diff(want, m.changes()); diff != "" {
		t.Fatal(diff)
	}
	if got := m.services["USB 10/100/1000 LAN"].Secure; got != company {
		t.Fatalf("restored %+v", got)
	}
}

// What the user set after us is not ours to take away.
func TestOnlyOurOwnSettingIsUndone(t *testing.T) {
	t.Parallel()
	m := newMac(t)
	tools, ctx := m.tools(), t.Context()
	before, err := tools.Snapshot(ctx, edge, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := tools.PointAt(ctx, edge); err != nil {
		t.Fatal(err)
	}
	m.services["Wi-Fi"].Web, m.services["Wi-Fi"].Secure = company, company
	m.calls = nil
	if err := tools.Release(ctx, edge); err != nil {
		t.Fatal(err)
	}
	want := []string{"networksetup -setwebproxystate USB 10/100/1000 LAN off", "networksetup -setsecurewebproxystate USB 10/100/1000 LAN off"}
	if diff := cmp.Diff(want, m.changes()); diff != "" {
		t.Fatal(diff)
	}
	if err := tools.Restore(ctx, before, edge); err != nil {
		t.Fatal(err)
	}
	if got := *m.services["Wi-Fi"]; got.Web != company || got.Secure != company {
		t.Fatalf("the user's proxy became %+v", got)
	}
	if on, err := tools.PointsAt(ctx, edge); err != nil || len(on) != 0 {
		t.Fatalf("still pointing here: %q, %v", on, err)
	}
}

func TestASnapshotNeverHoldsOurOwnProxy(t *testing.T) {
	t.Parallel()
	m := newMac(t)
	tools, ctx := m.tools(), t.Context()
	if err := tools.PointAt(ctx, edge); err != nil {
		t.Fatal(err)
	}
	s, err := tools.Snapshot(ctx, edge, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if up, ok := s.Upstream(); ok {
		t.Fatalf("the edge is its own upstream: %+v", up)
	}
	if err := tools.Restore(ctx, s, edge); err != nil {
		t.Fatal(err)
	}
	if on, _ := tools.PointsAt(ctx, edge); len(on) != 0 {
		t.Fatalf("still pointing here: %q", on)
	}
}

func TestAutomaticConfigurationIsFound(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*Proxies){
		"pac":  func(p *Proxies) { p.Auto, p.AutoURL = true, "http://wpad.corp.example/proxy.pac" },
		"wpad": func(p *Proxies) { p.Discovery = true },
	} {
		m := newMac(t)
		set(m.services["Wi-Fi"])
		s, err := m.tools().Snapshot(t.Context(), edge, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		if service, found := s.Automatic(); !found || service != "Wi-Fi" {
			t.Errorf("%s: %q, %v", name, service, found)
		}
	}
	s, err := newMac(t).tools().Snapshot(t.Context(), edge, time.Unix(0, 0))
	if _, found := s.Automatic(); found || err != nil {
		t.Errorf("none: found %v, %v", found, err)
	}
}

func TestOneServiceThatFailsDoesNotKeepTheOthers(t *testing.T) {
	t.Parallel()
	m := newMac(t)
	tools, ctx := m.tools(), t.Context()
	if err := tools.PointAt(ctx, edge); err != nil {
		t.Fatal(err)
	}
	m.fail["networksetup -setsecurewebproxystate Wi-Fi"] = Output{Stdout: "** Error: Command requires admin privileges.\n", Code: 14}
	err := tools.Release(ctx, edge)
	if !errors.Is(err, ErrAdmin) {
		t.Fatalf("error %v", err)
	}
	if on, _ := tools.PointsAt(ctx, edge); !slices.Equal(on, []string{"Wi-Fi"}) {
		t.Fatalf("still pointing here: %q", on)
	}
}

func TestGarbageIsNoSnapshot(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "Enabled: Maybe\nPort: 1\n", "Enabled: Yes\nServer: a\nPort: x\n", "Enabled: Yes\nServer: a\nPort: 65536\n"} {
		m := newMac(t)
		m.fail["networksetup -getwebproxy Wi-Fi"] = Output{Stdout: text}
		if _, err := m.tools().Snapshot(t.Context(), edge, time.Unix(0, 0)); err == nil {
			t.Errorf("%q is taken for a proxy setting", text)
		}
	}
	// An error that networksetup tells with exit code 0.
	m := newMac(t)
	m.fail["networksetup -listnetworkserviceorder"] = Output{Stdout: "** Error: Unable to access the System Configuration database.\n"}
	if _, err := m.tools().Services(t.Context()); err == nil {
		t.Error("an error is taken for no services")
	}
}

// What the user's proxy is not for, the edge reaches directly too.
func TestNoProxy(t *testing.T) {
	t.Parallel()
	s := Snapshot{Services: []Proxies{
		{Service: "USB LAN", Bypass: []string{"elsewhere"}},
		{Service: "Wi-Fi", Secure: company, Bypass: []string{"*.local", "169.254/16", "10/8", "192.168.0.0/16", "intranet", "*.corp.example", "fe80::/10"}},
	}}
	if got, want := s.NoProxy(), "*.local,169.254.0.0/16,10.0.0.0/8,192.168.0.0/16,intranet,*.corp.example,fe80::/10"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := (Snapshot{Services: s.Services[:1]}).NoProxy(); got != "" {
		t.Errorf("no proxy: %q", got)
	}
}
