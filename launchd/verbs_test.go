package launchd_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/launchd"
)

func TestBootoutWaitsUntilTheLabelIsFree(t *testing.T) {
	running, draining := printed(t, "running", "/x"), printed(t, "draining", "/x")
	timeout := func(seconds string) launchd.Output {
		return said(strings.Replace(string(running.Stdout), "exit timeout = 5", "exit timeout = "+seconds, 1))
	}
	unreadable := said("something new")
	broken := exit(5, "Boot-out failed: 5: Input/output error\n")
	tests := map[string]struct {
		bootout  launchd.Output
		print    []launchd.Output
		took     time.Duration
		want     error
		bootouts int
	}{
		"not loaded":         {succeeds, []launchd.Output{unknown}, 0, nil, 0},
		"no domain":          {succeeds, []launchd.Output{nobody}, 0, launchd.ErrNoDomain, 0},
		"at once":            {succeeds, []launchd.Output{running, unknown}, 0, nil, 1},
		"drains":             {succeeds, append(append([]launchd.Output{running}, times(20, draining)...), unknown), time.Second, nil, 1},
		"older macOS":        {exit(36, "Boot-out failed: 36: Operation now in progress\n"), []launchd.Output{running, draining, unknown}, 50 * time.Millisecond, nil, 1},
		"37":                 {exit(37, ""), []launchd.Output{running, draining, unknown}, 50 * time.Millisecond, nil, 1},
		"somebody was first": {exit(3, "Boot-out failed: 3: No such process\n"), []launchd.Output{running, unknown}, 0, nil, 1},
		"5 and gone":         {broken, []launchd.Output{running, unknown}, 0, nil, 1},
		"5 and draining":     {broken, []launchd.Output{running, draining, unknown}, 0, nil, 1},
		"5 and running":      {broken, []launchd.Output{running}, 0, &launchd.Error{Code: 5}, 1},
		"not permitted":      {exit(1, ""), []launchd.Output{running}, 0, launchd.ErrPermission, 1},
		"languishes":         {succeeds, []launchd.Output{running, draining}, 10 * time.Second, launchd.ErrInFlux, 1},
		"long exit timeout":  {succeeds, []launchd.Output{timeout("30"), draining}, 35 * time.Second, launchd.ErrInFlux, 1},
		"no exit timeout":    {succeeds, []launchd.Output{timeout("0"), draining}, time.Minute, context.DeadlineExceeded, 1},
		"unreadable":         {succeeds, []launchd.Output{unreadable, unreadable, unknown}, 50 * time.Millisecond, nil, 1},
		"logout":             {succeeds, []launchd.Output{running, draining, nobody}, 50 * time.Millisecond, launchd.ErrNoDomain, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &standIn{t: t, answers: map[string]func() launchd.Output{"bootout": always(tt.bootout), "print": inTurn(tt.print...)}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				start := time.Now()
				err := s.client().Bootout(ctx, target(t))
				var e *launchd.Error
				if want := new(launchd.Error); errors.As(tt.want, &want) {
					if !errors.As(err, &e) || e.Code != want.Code {
						t.Errorf("error = %v, want code %d", err, want.Code)
					}
				} else if !errors.Is(err, tt.want) {
					t.Errorf("error = %v, want %v", err, tt.want)
				}
				if took := time.Since(start); took != tt.took || s.count("bootout") != tt.bootouts {
					t.Errorf("took %s with %d bootouts, want %s with %d", took, s.count("bootout"), tt.took, tt.bootouts)
				}
			})
		})
	}
}

func TestKickstart(t *testing.T) {
	already := exit(37, "")
	tests := map[string]struct {
		kickstart, print launchd.Output
		options          launchd.KickstartOptions
		pid              int
		want             error
	}{
		"pid":            {kickstart: said("91223\n"), pid: 91223},
		"to a terminal":  {kickstart: said("service spawned with pid: 91223\n"), pid: 91223},
		"no pid":         {kickstart: succeeds},
		"runs":           {kickstart: already, print: printed(t, "running", "/x"), pid: 3246},
		"torn down":      {kickstart: already, print: printed(t, "draining", "/x"), want: launchd.ErrInFlux},
		"restart":        {kickstart: said("7\n"), options: launchd.KickstartOptions{Kill: true}, pid: 7},
		"restart, 37":    {kickstart: already, options: launchd.KickstartOptions{Kill: true}, want: launchd.ErrInFlux},
		"unknown":        {kickstart: unknown, want: launchd.ErrNotLoaded},
		"system's job":   {kickstart: exit(150, "Could not kickstart service \"x\": 150: Operation not permitted while System Integrity Protection is engaged\n"), want: launchd.ErrPolicy},
		"not a number":   {kickstart: said("done\n")},
		"negative value": {kickstart: said("-1\n")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := &standIn{t: t, answers: map[string]func() launchd.Output{"kickstart": always(tt.kickstart), "print": always(tt.print)}}
			pid, err := s.client().Kickstart(t.Context(), target(t), tt.options)
			if pid != tt.pid || !errors.Is(err, tt.want) {
				t.Errorf("Kickstart = %d, %v, want %d, %v", pid, err, tt.pid, tt.want)
			}
			want := "kickstart -p gui/501/com.example.agent"
			if tt.options.Kill {
				want = "kickstart -k -p gui/501/com.example.agent"
			}
			if s.calls[0] != want {
				t.Errorf("call %q, want %q", s.calls[0], want)
			}
		})
	}
}

// Nothing is run for a target that names nothing: "launchctl bootout gui/501"
// ends a whole login session.
func TestZeroTargetsRunNothing(t *testing.T) {
	s := &standIn{t: t}
	c, ctx := s.client(), t.Context()
	var noService launchd.ServiceTarget
	_, kickstart := c.Kickstart(ctx, noService, launchd.KickstartOptions{})
	_, printed := c.Print(ctx, noService)
	_, printDisabled := c.PrintDisabled(ctx, launchd.DomainTarget{})
	_, load := c.Load(ctx, launchd.DomainTarget{}, writePlist(t, nil), launchd.LoadOptions{})
	for name, err := range map[string]error{
		"Bootout": c.Bootout(ctx, noService), "Enable": c.Enable(ctx, noService), "Disable": c.Disable(ctx, noService),
		"Kill": c.Kill(ctx, "TERM", noService), "Kickstart": kickstart, "Print": printed, "PrintDisabled": printDisabled, "Load": load,
		"Bootstrap": c.Bootstrap(ctx, launchd.DomainTarget{}, "/x"), "Bootstrap of a domain": c.Bootstrap(ctx, domain, ""),
		"Setenv without a name": c.Setenv(ctx, "", "x"), "Setenv with an equals sign": c.Setenv(ctx, "A=B", "x"),
	} {
		if !errors.Is(err, launchd.ErrBadTarget) {
			t.Errorf("%s: error = %v, want ErrBadTarget", name, err)
		}
	}
	if diff := cmp.Diff([]string(nil), s.calls); diff != "" {
		t.Error(diff)
	}
}

func TestClientTimeout(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{0: time.Minute, 3 * time.Second: 3 * time.Second, -1: time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s := &standIn{t: t, answers: map[string]func() launchd.Output{"list": always(launchd.Output{Code: hang})}}
			c := s.client()
			c.Timeout = timeout
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			start := time.Now()
			_, err := c.List(ctx)
			if errors.Is(err, launchd.ErrNoAnswer) != (timeout >= 0) || time.Since(start) != want {
				t.Errorf("timeout %s: %v after %s", timeout, err, time.Since(start))
			}
		})
	}
}
