package launchd_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/launchd"
)

func TestValidateNamesTheKey(t *testing.T) {
	minute := func(c launchd.CalendarInterval) launchd.OneOrMany[launchd.CalendarInterval] { return launchd.One(c) }
	conditions := func(c launchd.KeepAliveConditions) *launchd.KeepAlive { return &launchd.KeepAlive{Conditions: &c} }
	socket := func(s launchd.Socket) map[string]launchd.OneOrMany[launchd.Socket] {
		return map[string]launchd.OneOrMany[launchd.Socket]{"L": launchd.One(s)}
	}
	tests := map[string]struct {
		edit    func(*launchd.Job)
		want    string // the key
		refused bool
	}{
		"no label":              {func(j *launchd.Job) { j.Label = "" }, "Label", true},
		"label with a slash":    {func(j *launchd.Job) { j.Label = "a/b" }, "Label", false},
		"nothing to run":        {func(j *launchd.Job) { j.ProgramArguments = nil }, "Program", true},
		"empty program":         {func(j *launchd.Job) { j.ProgramArguments[0] = "" }, "ProgramArguments", true},
		"relative program":      {func(j *launchd.Job) { j.Program = "bin/agent" }, "Program", false},
		"bare program":          {func(j *launchd.Job) { j.ProgramArguments[0] = "agent" }, "ProgramArguments", false},
		"tilde in program":      {func(j *launchd.Job) { j.Program = "~/bin/agent" }, "Program", false},
		"tilde in log path":     {func(j *launchd.Job) { j.StandardErrorPath = "~/Library/Logs/x.log" }, "StandardErrorPath", false},
		"tilde in watch path":   {func(j *launchd.Job) { j.WatchPaths = []string{"/ok", "~/x"} }, "WatchPaths[1]", false},
		"tilde in queue":        {func(j *launchd.Job) { j.QueueDirectories = []string{"~/x"} }, "QueueDirectories[0]", false},
		"relative directory":    {func(j *launchd.Job) { j.WorkingDirectory = "here" }, "WorkingDirectory", false},
		"KeepAlive contradicts": {func(j *launchd.Job) { j.KeepAlive, j.RunAtLoad = launchd.AlwaysOn(), new(false) }, "RunAtLoad", false},
		"condition contradicts": {func(j *launchd.Job) { j.KeepAlive, j.RunAtLoad = launchd.RestartAfterFailure(), new(false) }, "RunAtLoad", false},
		"no condition":          {func(j *launchd.Job) { j.KeepAlive = conditions(launchd.KeepAliveConditions{}) }, "KeepAlive", false},
		"dead condition": {func(j *launchd.Job) {
			j.KeepAlive = conditions(launchd.KeepAliveConditions{NetworkState: new(true)})
		}, "KeepAlive.NetworkState", false},
		"tilde in condition": {func(j *launchd.Job) {
			j.KeepAlive = conditions(launchd.KeepAliveConditions{PathState: map[string]bool{"~/x": true}})
		}, "KeepAlive.PathState", false},
		"pressured exit": {func(j *launchd.Job) { j.KeepAlive, j.EnablePressuredExit = launchd.AlwaysOn(), new(true) }, "EnablePressuredExit", false},
		"minute 60":      {func(j *launchd.Job) { j.StartCalendarInterval = minute(launchd.CalendarInterval{Minute: new(60)}) }, "StartCalendarInterval.Minute", false},
		"hour 24":        {func(j *launchd.Job) { j.StartCalendarInterval = launchd.Daily(24, 0) }, "StartCalendarInterval.Hour", false},
		"day 0":          {func(j *launchd.Job) { j.StartCalendarInterval = minute(launchd.CalendarInterval{Day: new(0)}) }, "StartCalendarInterval.Day", false},
		"weekday 8":      {func(j *launchd.Job) { j.StartCalendarInterval = launchd.Weekly(8, 0, 0) }, "StartCalendarInterval.Weekday", false},
		"second of two": {func(j *launchd.Job) {
			j.StartCalendarInterval = launchd.Many(launchd.CalendarInterval{}, launchd.CalendarInterval{Month: new(13)})
		}, "StartCalendarInterval[1].Month", false},
		"30 February": {func(j *launchd.Job) {
			j.StartCalendarInterval = minute(launchd.CalendarInterval{Day: new(30), Month: new(2)})
		}, "StartCalendarInterval.Day", false},
		"interval 0":           {func(j *launchd.Job) { j.StartInterval = new(0) }, "StartInterval", false},
		"throttle 0":           {func(j *launchd.Job) { j.ThrottleInterval = new(0) }, "ThrottleInterval", false},
		"exit timeout":         {func(j *launchd.Job) { j.ExitTimeOut = new(-1) }, "ExitTimeOut", false},
		"nice":                 {func(j *launchd.Job) { j.Nice = new(21) }, "Nice", false},
		"umask text":           {func(j *launchd.Job) { j.Umask = &launchd.IntOrString{Str: new("rwx")} }, "Umask", false},
		"umask of Go, octal":   {func(j *launchd.Job) { j.Umask = &launchd.IntOrString{Str: new("0o22")} }, "Umask", false},
		"umask of Go, binary":  {func(j *launchd.Job) { j.Umask = &launchd.IntOrString{Str: new("0b11")} }, "Umask", false},
		"umask of Go, grouped": {func(j *launchd.Job) { j.Umask = &launchd.IntOrString{Str: new("1_8")} }, "Umask", false},
		"umask beyond octal":   {func(j *launchd.Job) { j.Umask = &launchd.IntOrString{Str: new("088")} }, "Umask", false},
		"umask as if octal":    {func(j *launchd.Job) { j.Umask = &launchd.IntOrString{Int: 1000} }, "Umask", false},
		"negative limit":       {func(j *launchd.Job) { j.HardResourceLimits = &launchd.ResourceLimits{NumberOfFiles: new(-1)} }, "HardResourceLimits.NumberOfFiles", false},
		"process type":         {func(j *launchd.Job) { j.ProcessType = "background" }, "ProcessType", false},
		"control character":    {func(j *launchd.Job) { j.EnvironmentVariables = map[string]string{"A": "\x1b[1m"} }, "EnvironmentVariables.A", true},
		"bad UTF-8":            {func(j *launchd.Job) { j.ProgramArguments[1] = "\xff" }, "ProgramArguments[1]", true},
		"control in Extra":     {func(j *launchd.Job) { j.Extra = map[string]any{"X": []any{"\x00"}} }, "X[0]", true},
		"variable's name":      {func(j *launchd.Job) { j.EnvironmentVariables = map[string]string{"A=B": "x"} }, "EnvironmentVariables", false},
		"number in env": {func(j *launchd.Job) {
			j.Extra = map[string]any{"EnvironmentVariables": map[string]any{"PORT": uint64(80)}}
		}, "EnvironmentVariables.PORT", false},
		"line break in a path":            {func(j *launchd.Job) { j.WorkingDirectory = "/tmp/a\n\tpid = 77" }, "WorkingDirectory", false},
		"line break in a variable's name": {func(j *launchd.Job) { j.EnvironmentVariables = map[string]string{"A\nB": "x"} }, "EnvironmentVariables", false},
		"another case":                    {func(j *launchd.Job) { j.Extra = map[string]any{"runatload": true} }, "runatload", false},
		"another case, tagged":            {func(j *launchd.Job) { j.Extra = map[string]any{"InetdCompatibility": map[string]any{}} }, "InetdCompatibility", false},
		"another case, in a condition": {func(j *launchd.Job) {
			j.KeepAlive = conditions(launchd.KeepAliveConditions{Extra: map[string]any{"successfulexit": false}})
		}, "KeepAlive.successfulexit", false},
		"another case, nested": {func(j *launchd.Job) {
			j.HardResourceLimits = &launchd.ResourceLimits{Extra: map[string]any{"numberOfFiles": uint64(9)}}
		}, "HardResourceLimits.numberOfFiles", false},
		"wrong type":  {func(j *launchd.Job) { j.Extra = map[string]any{"RunAtLoad": "yes"} }, "RunAtLoad", false},
		"socket type": {func(j *launchd.Job) { j.Sockets = socket(launchd.Socket{SockType: "tcp"}) }, "Sockets.L.SockType", false},
		"socket port": {func(j *launchd.Job) {
			j.Sockets = socket(launchd.Socket{SockServiceName: &launchd.IntOrString{Int: 70000}})
		}, "Sockets.L.SockServiceName", false},
		"socket of two kinds": {func(j *launchd.Job) {
			j.Sockets = socket(launchd.Socket{SockPathName: "/x", SockServiceName: &launchd.IntOrString{Int: 80}})
		}, "Sockets.L", false},
		"obsolete":   {func(j *launchd.Job) { j.ServiceIPC = new(true) }, "ServiceIPC", false},
		"deprecated": {func(j *launchd.Job) { j.OnDemand = new(false) }, "OnDemand", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			j := &launchd.Job{Label: label, ProgramArguments: []string{"/bin/sh", "-c"}}
			tt.edit(j)
			got := j.Validate()
			if len(got) != 1 || got[0].Key != tt.want || got[0].Refused != tt.refused || got[0].Reason == "" || got[0].Fix == "" {
				t.Errorf("problems = %+v, want one about %s", got, tt.want)
			}
			path := filepath.Join(t.TempDir(), "x.plist")
			if _, err := j.WriteFile(path); !errors.Is(err, launchd.ErrBadPlist) || !errors.As(err, new(launchd.Problem)) {
				t.Errorf("WriteFile: %v, want ErrBadPlist", err)
			}
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("WriteFile left a file: %v", err)
			}
		})
	}
}

func TestValidateAcceptsSensibleJobs(t *testing.T) {
	base := func(edit func(*launchd.Job)) *launchd.Job {
		j := &launchd.Job{Label: label, ProgramArguments: []string{"/bin/sh", "~/not a path launchd reads"}}
		edit(j)
		return j
	}
	for i, j := range []*launchd.Job{
		base(func(*launchd.Job) {}),
		base(func(j *launchd.Job) { j.KeepAlive, j.RunAtLoad = launchd.AlwaysOn(), new(true) }),
		base(func(j *launchd.Job) { j.KeepAlive, j.RunAtLoad = &launchd.KeepAlive{}, new(false) }),
		base(func(j *launchd.Job) {
			j.RunAtLoad = new(false)
			j.KeepAlive = &launchd.KeepAlive{Conditions: &launchd.KeepAliveConditions{SuccessfulExit: new(false), AfterInitialDemand: new(true)}}
		}),
		base(func(j *launchd.Job) {
			j.StartCalendarInterval = launchd.Many(launchd.CalendarInterval{Day: new(29), Month: new(2)})
		}),
		base(func(j *launchd.Job) { j.Umask = &launchd.IntOrString{Str: new("022")} }),
		base(func(j *launchd.Job) { j.Umask = &launchd.IntOrString{Str: new("0x1fF")} }),
		base(func(j *launchd.Job) { j.Umask = &launchd.IntOrString{Str: new("18")} }),
		base(func(j *launchd.Job) { j.Umask = &launchd.IntOrString{Str: new("0")} }),
		base(func(j *launchd.Job) { j.Extra = map[string]any{"NoSuchKey": 1} }),
		base(func(j *launchd.Job) { j.ThrottleInterval, j.ExitTimeOut = new(1), new(0) }),
		base(func(j *launchd.Job) {
			j.Sockets = map[string]launchd.OneOrMany[launchd.Socket]{"A": launchd.ListenTCP("127.0.0.1", "8080"), "B": launchd.ListenUnix("/tmp/x")}
		}),
	} {
		if got := j.Validate(); len(got) != 0 {
			t.Errorf("job %d: %v", i, got)
		}
	}
}

func TestValidateForADomain(t *testing.T) {
	tests := []struct {
		domain  launchd.DomainTarget
		session []string
		want    string
	}{
		{launchd.GUI(501), nil, ""},
		{launchd.GUI(501), []string{"Background", "Aqua"}, ""},
		{launchd.GUI(501), []string{"Background"}, "LimitLoadToSessionType: gui/501 is not of session Background: remove it, or add Aqua"},
		{launchd.User(501), []string{"Background"}, ""},
		{launchd.User(501), []string{"Aqua"}, "LimitLoadToSessionType: user/501 is not of session Aqua: remove it, or add Background"},
		{launchd.PID(1), []string{"Aqua"}, ""},
		{launchd.System(), []string{"System"}, ""},
		{launchd.GUI(501), []string{"Aqua", "aqua"}, `LimitLoadToSessionType: launchd does not know "aqua": use Aqua, Background, LoginWindow, StandardIO or System`},
	}
	for _, tt := range tests {
		j := &launchd.Job{Label: label, Program: "/bin/sh"}
		j.LimitLoadToSessionType.Values = tt.session
		var got string
		for _, p := range j.ValidateFor(tt.domain) {
			got += p.Error()
		}
		if got != tt.want {
			t.Errorf("%s, %q: %q, want %q", tt.domain, tt.session, got, tt.want)
		}
	}
	j := &launchd.Job{Label: label, Program: "/bin/sh", UserName: "root"}
	if got := j.ValidateFor(launchd.System()); len(got) != 0 {
		t.Errorf("UserName in the system domain: %v", got)
	}
	if got := j.ValidateFor(launchd.GUI(501)); len(got) != 1 || got[0].Key != "UserName" {
		t.Errorf("UserName in gui/501: %v", got)
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, label+".plist")
	elsewhere := filepath.Join(dir, "elsewhere")
	if err := errors.Join(os.WriteFile(elsewhere, []byte("untouched"), 0o600), os.Symlink(elsewhere, path)); err != nil {
		t.Fatal(err)
	}
	job := &launchd.Job{Label: label, Program: "/bin/sh"}
	steps := []struct {
		name    string
		before  func() error
		changed bool
	}{
		{"over a link", func() error { return nil }, true},
		{"again", func() error { return nil }, false},
		{"writable by others", func() error { return os.Chmod(path, 0o666) }, true},
		{"another job", func() error { job.RunAtLoad = new(true); return nil }, true},
		{"equal in another form", func() error {
			data, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, []byte(strings.ReplaceAll(string(data), "\t", "  ")), 0o600))
		}, false},
		{"private", func() error { return os.Chmod(path, 0o600) }, false},
		{"malformed", func() error { return os.WriteFile(path, []byte("<plist>"), 0o600) }, true},
	}
	for _, step := range steps {
		if err := step.before(); err != nil {
			t.Fatal(err)
		}
		changed, err := job.WriteFile(path)
		if err != nil || changed != step.changed {
			t.Errorf("%s: WriteFile = %v, %v, want %v", step.name, changed, err, step.changed)
		}
		if err := launchd.CheckPlistFile(path, domain); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := launchd.ParseJob(data)
		if !reflect.DeepEqual(got, job) || err != nil {
			t.Errorf("%s: %v, %s", step.name, err, data)
		}
	}
	if data, err := os.ReadFile(elsewhere); string(data) != "untouched" || err != nil {
		t.Errorf("the link's target = %q, %v", data, err)
	}
}
