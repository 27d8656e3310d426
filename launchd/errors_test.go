package launchd

import (
	"errors"
	"strings"
	"testing"
)

func TestTargets(t *testing.T) {
	for _, s := range []string{"system/a", "gui/501/com.example.agent", "user/0/a_b-c.D9", "login/100015/x", "pid/1/x"} {
		target, err := ParseTarget(s)
		if err != nil || target.String() != s {
			t.Errorf("ParseTarget(%q) = %q, %v", s, target, err)
		}
	}
	bad := []string{
		"", "system", "gui/501", "gui/501/", "gui//a", "gui/a/b", "gui/-1/a", "gui/+1/a", "gui/01/a", "gui/99999999999/a",
		"system/1/a", "nobody/1/a", "/a", "gui/501/a b", "gui/501/a<", "gui/501/é", "gui/501/-k",
		"gui/501/" + strings.Repeat("a", maxLabel+1),
	}
	for _, s := range bad {
		if target, err := ParseTarget(s); !errors.Is(err, ErrBadTarget) {
			t.Errorf("ParseTarget(%q) = %q, %v, want ErrBadTarget", s, target, err)
		}
	}
	if _, err := GUI(-1).Service("a"); !errors.Is(err, ErrBadTarget) {
		t.Errorf("GUI(-1): %v", err)
	}
	if _, err := (DomainTarget{}).Service("a"); !errors.Is(err, ErrBadTarget) {
		t.Errorf("zero domain: %v", err)
	}
}

func TestCodesAreDarwins(t *testing.T) {
	tests := []struct {
		code       int
		name, text string
	}{
		{5, "EIO", "Input/output error"},
		{17, "EEXIST", "File exists"},
		{36, "EINPROGRESS", "Operation now in progress"},
		{37, "EALREADY", "Operation already in progress"},
		{113, "ENOSERVICE", "Could not find specified service"},
		{119, "", "Service is disabled"},
		{160, "", "Unknown error: 160"},
	}
	for _, tt := range tests {
		if name, text := CodeName(tt.code), CodeText(tt.code); name != tt.name || text != tt.text {
			t.Errorf("code %d is %q, %q, want %q, %q", tt.code, name, text, tt.name, tt.text)
		}
	}
}

func TestErrorClasses(t *testing.T) {
	classes := []error{ErrNotLoaded, ErrNotRunning, ErrAlreadyLoaded, ErrDisabled, ErrNoDomain, ErrPermission, ErrPolicy, ErrBadPlist, ErrInFlux}
	tests := []struct {
		verb string
		code int
		want []error
	}{
		{"bootout", 3, []error{ErrNotLoaded}},
		{"kill", 3, []error{ErrNotRunning}},
		{"print", 113, []error{ErrNotLoaded}},
		{"bootstrap", 5, nil},
		{"bootstrap", 17, []error{ErrAlreadyLoaded}},
		{"bootout", 36, []error{ErrInFlux}},
		{"bootstrap", 37, []error{ErrAlreadyLoaded, ErrInFlux}},
		{"bootstrap", 119, []error{ErrDisabled}},
		{"print", 112, []error{ErrNoDomain}},
		{"bootstrap", 125, []error{ErrNoDomain}},
		{"setenv", 1, []error{ErrPermission}},
		{"kickstart", 150, []error{ErrPolicy}},
		{"bootstrap", 122, []error{ErrBadPlist}},
	}
	for _, tt := range tests {
		err := error(&Error{Verb: tt.verb, Code: tt.code})
		for _, class := range classes {
			want := false
			for _, w := range tt.want {
				want = want || errors.Is(w, class)
			}
			if errors.Is(err, class) != want {
				t.Errorf("%s %d is %q: %v, want %v", tt.verb, tt.code, class, !want, want)
			}
		}
	}
}

func TestErrorOfSeveral(t *testing.T) {
	for stderr, want := range map[string]error{
		"/x.plist: Path had bad ownership/permissions\nBootstrap failed: 133: Multiple errors were returned; see stderr\n": ErrBadPlist,
		"/x.plist: service already bootstrapped\nBootstrap failed: 133: Multiple errors were returned; see stderr\n":       ErrAlreadyLoaded,
		"/x.plist: Service is disabled\n": ErrDisabled,
	} {
		if err := error(&Error{Verb: "bootstrap", Code: 133, Stderr: stderr}); !errors.Is(err, want) {
			t.Errorf("%v is not %v", err, want)
		}
	}
	err := error(&Error{Verb: "bootstrap", Code: 133, Stderr: "Bootstrap failed: 133: Multiple errors were returned; see stderr\n"})
	if errors.Is(err, ErrBadPlist) || errors.Is(err, ErrAlreadyLoaded) {
		t.Errorf("%v is of a class", err)
	}
}

func TestErrorSaysWhatLaunchctlSaid(t *testing.T) {
	tests := []struct {
		err  Error
		want string
	}{
		{
			Error{"bootstrap", "gui/501", 5, "Bootstrap failed: 5: Input/output error\nTry re-running the command as root for richer errors.\n"},
			"launchctl bootstrap gui/501: exit 5: Input/output error",
		},
		{
			Error{"print", "gui/501/a", 113, "Bad request.\nCould not find service \"a\" in domain for user gui: 501\n"},
			`launchctl print gui/501/a: exit 113: Could not find specified service (Could not find service "a" in domain for user gui: 501)`,
		},
		{
			Error{"enable", "gui/x", 64, "Unrecognized target specifier. <service-target> takes a form of <domain-target>/<service-id>.\n"},
			"launchctl enable gui/x: exit 64: Command line usage error (Unrecognized target specifier. <service-target> takes a form of <domain-target>/<service-id>.)",
		},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}
