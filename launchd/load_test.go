package launchd_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/launchd"
)

func TestLoadWaitsLongerEachTime(t *testing.T) {
	plist := writePlist(t, nil)
	synctest.Test(t, func(t *testing.T) {
		s := &standIn{t: t, answers: map[string]func() launchd.Output{
			"bootstrap": inTurn(append(times(6, refused), succeeds)...),
			"print":     always(unknown), "print-disabled": always(enabled),
		}}
		start := time.Now()
		var told []launchd.Attempt
		res, err := s.client().Load(t.Context(), domain, plist, launchd.LoadOptions{
			OnAttempt: func(a launchd.Attempt) { told = append(told, a) },
		})
		if err != nil || res.AlreadyLoaded {
			t.Fatalf("Load = %+v, %v", res, err)
		}
		if diff := cmp.Diff(res.Attempts, told); diff != "" {
			t.Errorf("OnAttempt was told otherwise: %s", diff)
		}
		want := []time.Duration{0, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond, 2 * time.Second}
		if len(res.Attempts) != len(want) {
			t.Fatalf("%d attempts failed, want %d", len(res.Attempts), len(want))
		}
		var waited time.Duration
		for i, a := range res.Attempts {
			waited += a.Delay
			if off := (a.Delay - want[i]).Abs(); off > want[i]/10 {
				t.Errorf("wait %d is %s, want %s give or take 10 %%", i, a.Delay, want[i])
			}
			if a.Code != 5 || a.Stderr != string(refused.Stderr) || a.At.Sub(start) != waited {
				t.Errorf("attempt %d = %+v, want code 5 after %s", i, a, waited)
			}
		}
		if n := s.count("enable"); n != 1 {
			t.Errorf("enabled %d times", n)
		}
	})
}

func TestLoadGivesUpWithItsBudget(t *testing.T) {
	for _, budget := range []time.Duration{-1, time.Second, 10 * time.Second} {
		plist := writePlist(t, nil)
		synctest.Test(t, func(t *testing.T) {
			s := &standIn{t: t, answers: map[string]func() launchd.Output{
				"bootstrap": always(refused), "print": always(unknown), "print-disabled": always(enabled),
			}}
			start := time.Now()
			res, err := s.client().Load(t.Context(), domain, plist, launchd.LoadOptions{Budget: budget})
			var e *launchd.Error
			if !errors.As(err, &e) || e.Code != 5 || !strings.Contains(err.Error(), "still refused") {
				t.Errorf("error = %v, want the last answer", err)
			}
			if took := time.Since(start); took != max(budget, 0) {
				t.Errorf("budget %s: took %s", budget, took)
			}
			if budget < 0 && len(res.Attempts) != 1 {
				t.Errorf("%d attempts without a budget", len(res.Attempts))
			}
		})
	}
}

// Each row is a refusal that no retry cures: one bootstrap, no wait.
func TestLoadFailsAtOnce(t *testing.T) {
	rewrite := func(content string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	session := func(j *launchd.Job) { j.LimitLoadToSessionType = launchd.One("Background") }
	noProgram := func(j *launchd.Job) { j.RunAtLoad, j.ProgramArguments = new(true), []string{"/nonexistent/agent"} }
	tests := map[string]struct {
		bootstrap, print, disabled launchd.Output
		edit                       func(*launchd.Job)
		spoil                      func(t *testing.T, path string)
		want                       error
		attempts                   int
	}{
		"no session":      {bootstrap: exit(125, "Bootstrap failed: 125: Domain does not support specified action\n"), want: launchd.ErrNoDomain, attempts: 1},
		"no domain":       {bootstrap: exit(112, ""), want: launchd.ErrNoDomain, attempts: 1},
		"5, no domain":    {bootstrap: refused, print: nobody, want: launchd.ErrNoDomain, attempts: 1},
		"bad owner":       {bootstrap: exit(122, ""), want: launchd.ErrBadPlist, attempts: 1},
		"invalid plist":   {bootstrap: exit(109, ""), want: launchd.ErrBadPlist, attempts: 1},
		"sandbox":         {bootstrap: exit(159, ""), want: launchd.ErrPolicy, attempts: 1},
		"not permitted":   {bootstrap: exit(1, ""), want: launchd.ErrPermission, attempts: 1},
		"5, disabled":     {bootstrap: refused, print: unknown, disabled: disabled, want: launchd.ErrDisabled, attempts: 1},
		"5, session":      {bootstrap: refused, print: unknown, disabled: enabled, edit: session, want: launchd.ErrBadPlist, attempts: 1},
		"missing program": {edit: noProgram, want: launchd.ErrBadPlist},
		"5, writable by others": {bootstrap: refused, print: unknown, disabled: enabled, want: launchd.ErrBadPlist, attempts: 1, spoil: func(t *testing.T, path string) {
			if err := os.Chmod(path, 0o664); err != nil {
				t.Fatal(err)
			}
		}},
		"5, symbolic link": {bootstrap: refused, print: unknown, disabled: enabled, want: launchd.ErrBadPlist, attempts: 1, spoil: func(t *testing.T, path string) {
			if err := errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path)); err != nil {
				t.Fatal(err)
			}
		}},
		"missing": {want: launchd.ErrBadPlist, spoil: func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}},
		"a directory": {want: launchd.ErrBadPlist, spoil: func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}},
		"malformed": {want: launchd.ErrBadPlist, spoil: rewrite("<plist><dict>")},
		"too large": {want: launchd.ErrBadPlist, spoil: rewrite(strings.Repeat(" ", 2<<20))},
		"bad label": {want: launchd.ErrBadTarget, edit: func(j *launchd.Job) { j.Label = "a b" }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			plist := writePlist(t, tt.edit)
			if tt.spoil != nil {
				tt.spoil(t, plist)
			}
			synctest.Test(t, func(t *testing.T) {
				s := &standIn{t: t, answers: map[string]func() launchd.Output{
					"bootstrap": always(tt.bootstrap), "print": always(tt.print), "print-disabled": always(tt.disabled),
				}}
				start := time.Now()
				res, err := s.client().Load(t.Context(), domain, plist, launchd.LoadOptions{})
				if !errors.Is(err, tt.want) {
					t.Errorf("error = %v, want %v", err, tt.want)
				}
				if took := time.Since(start); took != 0 || s.count("bootstrap") != tt.attempts || len(res.Attempts) != tt.attempts {
					t.Errorf("took %s, calls %q, want %d attempts at once", took, s.calls, tt.attempts)
				}
			})
		})
	}
}

func TestLoadEnablesOnceMore(t *testing.T) {
	plist := writePlist(t, nil)
	off := exit(119, "Bootstrap failed: 119: Service is disabled\n")
	for name, tt := range map[string]struct {
		bootstrap []launchd.Output
		want      error
	}{
		"helps": {[]launchd.Output{off, succeeds}, nil},
		"fails": {[]launchd.Output{off, off, succeeds}, launchd.ErrDisabled},
	} {
		t.Run(name, func(t *testing.T) {
			s := &standIn{t: t, answers: map[string]func() launchd.Output{"bootstrap": inTurn(tt.bootstrap...)}}
			_, err := s.client().Load(t.Context(), domain, plist, launchd.LoadOptions{})
			if !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
			if diff := cmp.Diff([]string{"enable", "bootstrap", "enable", "bootstrap"}, s.verbs()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLoadWaitsForTeardown(t *testing.T) {
	plist := writePlist(t, nil)
	draining := printed(t, "draining", plist)
	endless := said(strings.Replace(string(draining.Stdout), "exit timeout = 5", "exit timeout = 0", 1))
	tests := map[string]struct {
		print launchd.Output
		gone  time.Duration // from the start on
		took  time.Duration
		want  error
	}{
		"in time":         {draining, 7 * time.Second, 7 * time.Second, nil},
		"languishes":      {draining, time.Hour, 10 * time.Second, launchd.ErrInFlux},
		"no exit timeout": {endless, time.Hour, 3 * time.Second, launchd.ErrInFlux},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				gone := func() bool { return time.Since(start) >= tt.gone }
				s := &standIn{t: t, answers: map[string]func() launchd.Output{
					"bootstrap": func() launchd.Output {
						if gone() {
							return succeeds
						}
						return refused
					},
					"print": func() launchd.Output {
						if gone() {
							return unknown
						}
						return tt.print
					},
				}}
				_, err := s.client().Load(t.Context(), domain, plist, launchd.LoadOptions{Budget: 3 * time.Second})
				if !errors.Is(err, tt.want) {
					t.Errorf("error = %v, want %v", err, tt.want)
				}
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %s, want %s", took, tt.took)
				}
				if n := s.count("bootstrap"); n > 2 || s.count("bootout") != 0 {
					t.Errorf("calls %q, want at most 2 bootstraps and no bootout", s.verbs())
				}
			})
		})
	}
}

func TestLoadKeepsAJobWhoseScriptEndsTheBlock(t *testing.T) {
	plist := writePlist(t, func(j *launchd.Job) { j.ProgramArguments = []string{"/bin/sh", "-c", blockInScript} })
	out := printed(t, "running", plist)
	out.Stdout = []byte(strings.Replace(string(out.Stdout), "\t\tserver/index.ts\n", "\t\t-c\n\t\t"+blockInScript+"\n", 1))
	s := &standIn{t: t, answers: map[string]func() launchd.Output{
		"bootstrap": always(exit(37, "Bootstrap failed\n")), "print": always(out),
	}}
	res, err := s.client().Load(t.Context(), domain, plist, launchd.LoadOptions{})
	if err != nil || !res.AlreadyLoaded || len(res.Attempts) > 1 {
		t.Errorf("Load = %+v, %v, want AlreadyLoaded at once", res, err)
	}
	if n := s.count("bootout"); n != 0 {
		t.Errorf("the healthy job was booted out %d times", n)
	}
}

func TestLoadOfALoadedJob(t *testing.T) {
	plist := writePlist(t, nil)
	other := filepath.Join(t.TempDir(), "other.plist")
	longer := func(j *launchd.Job) { j.ProgramArguments = append(j.ProgramArguments, "--more") }
	tests := map[string]struct {
		code    int
		plist   string
		printed string
		already bool
	}{
		"same, 37":        {37, plist, plist, true},
		"same, 17":        {17, plist, plist, true},
		"same, 5":         {5, plist, plist, true},
		"other path":      {37, plist, other, false},
		"other arguments": {5, writePlist(t, longer), "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.printed == "" {
				tt.printed = tt.plist
			}
			s := &standIn{t: t, answers: map[string]func() launchd.Output{
				"bootstrap": inTurn(exit(tt.code, "Bootstrap failed\n"), succeeds),
				"print":     inTurn(printed(t, "running", tt.printed), unknown),
			}}
			res, err := s.client().Load(t.Context(), domain, tt.plist, launchd.LoadOptions{})
			if err != nil || res.AlreadyLoaded != tt.already || len(res.Attempts) != 1 {
				t.Errorf("Load = %+v, %v, want AlreadyLoaded %v", res, err, tt.already)
			}
			want := []string{"enable", "bootstrap", "print"}
			if !tt.already {
				want = append(want, "bootout", "print", "bootstrap")
			}
			if diff := cmp.Diff(want, s.verbs()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLoadGivesWayToAnotherInstaller(t *testing.T) {
	plist := writePlist(t, nil)
	theirs := printed(t, "running", "/elsewhere.plist")
	s := &standIn{t: t, answers: map[string]func() launchd.Output{
		"bootstrap": always(refused),
		"print":     inTurn(theirs, unknown, theirs, unknown, theirs, unknown, theirs),
	}}
	_, err := s.client().Load(t.Context(), domain, plist, launchd.LoadOptions{})
	if !errors.Is(err, launchd.ErrInFlux) || !strings.Contains(err.Error(), "/elsewhere.plist") || s.count("bootout") != 3 {
		t.Errorf("error = %v after %d bootouts, want ErrInFlux after 3", err, s.count("bootout"))
	}
}

func TestLoadKeepsTheLastAnswer(t *testing.T) {
	plist := writePlist(t, nil)
	synctest.Test(t, func(t *testing.T) {
		s := &standIn{t: t, answers: map[string]func() launchd.Output{
			"bootstrap": always(refused), "print": always(unknown), "print-disabled": always(enabled),
		}}
		why := errors.New("the user lost patience")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 900*time.Millisecond, why)
		defer cancel()
		start := time.Now()
		_, err := s.client().Load(ctx, domain, plist, launchd.LoadOptions{})
		var e *launchd.Error
		if !errors.Is(err, why) || !errors.As(err, &e) || e.Code != 5 {
			t.Errorf("error = %v, want the cause and code 5", err)
		}
		if took := time.Since(start); took != 900*time.Millisecond {
			t.Errorf("took %s", took)
		}
	})
}

func TestLoadSeesToTheStart(t *testing.T) {
	atLoad := func(j *launchd.Job) { j.RunAtLoad = new(true) }
	onFailure := func(j *launchd.Job) { j.KeepAlive = launchd.RestartAfterFailure() }
	idle := said(strings.ReplaceAll(string(printed(t, "pended", "/x").Stdout), "\tpended nondemand spawn = speculative\n", ""))
	proxy := said(strings.Replace(string(printed(t, "running", "/x").Stdout), "state = running", "state = xpcproxy", 1))
	tests := map[string]struct {
		edit      func(*launchd.Job)
		print     []launchd.Output
		took      time.Duration
		kickstart int
		want      error
	}{
		"on demand":    {nil, nil, 0, 0, nil},
		"runs":         {atLoad, []launchd.Output{idle, idle, printed(t, "running", "/x")}, 100 * time.Millisecond, 0, nil},
		"becomes":      {atLoad, []launchd.Output{proxy, proxy, printed(t, "running", "/x")}, 100 * time.Millisecond, 0, nil},
		"fails to":     {atLoad, []launchd.Output{proxy, printed(t, "crash-loop", "/x")}, 50 * time.Millisecond, 0, launchd.ErrBadPlist},
		"never does":   {atLoad, []launchd.Output{proxy}, 2 * time.Second, 0, nil},
		"ran":          {atLoad, []launchd.Output{printed(t, "not-running", "/x")}, 0, 0, nil},
		"pended":       {atLoad, []launchd.Output{printed(t, "pended", "/x")}, 0, 1, nil},
		"no word":      {onFailure, []launchd.Output{idle}, 2 * time.Second, 1, nil},
		"spawn failed": {atLoad, []launchd.Output{printed(t, "crash-loop", "/x")}, 0, 0, launchd.ErrBadPlist},
		"vanished":     {atLoad, []launchd.Output{unknown}, 0, 0, launchd.ErrNotLoaded},
		"unreadable":   {atLoad, []launchd.Output{said("com.example.agent: fine")}, 0, 0, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			plist := writePlist(t, tt.edit)
			synctest.Test(t, func(t *testing.T) {
				s := &standIn{t: t, answers: map[string]func() launchd.Output{}}
				if tt.print != nil {
					s.answers["print"] = inTurn(tt.print...)
				}
				start := time.Now()
				_, err := s.client().Load(t.Context(), domain, plist, launchd.LoadOptions{})
				if !errors.Is(err, tt.want) || time.Since(start) != tt.took || s.count("kickstart") != tt.kickstart {
					t.Errorf("error = %v after %s, calls %q; want %v after %s, %d kickstarts", err, time.Since(start), s.calls, tt.want, tt.took, tt.kickstart)
				}
			})
		})
	}
}
