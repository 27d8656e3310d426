package launchd

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func (c *checker) identity() {
	j := c.job
	c.refused(j.Label == "", "Label", "launchd needs one", "use a name such as com.example.agent")
	if err := CheckLabel(j.Label); err != nil && j.Label != "" {
		c.when(true, "Label", strings.TrimPrefix(err.Error(), ErrBadTarget.Error()+": "), "use a name such as com.example.agent")
	}
	switch {
	case j.Program != "":
		c.path(j.Program, "Program")
	case len(j.ProgramArguments) > 0:
		c.refused(j.ProgramArguments[0] == "", "ProgramArguments", "the program is empty", "put the program's absolute path first")
		c.path(j.ProgramArguments[0], "ProgramArguments")
	case j.BundleProgram == "":
		c.refused(true, "Program", "there is nothing to run", "set Program or ProgramArguments")
	}
	for name := range j.EnvironmentVariables {
		c.when(name == "" || strings.ContainsAny(name, "=\t\r\n"), "EnvironmentVariables", fmt.Sprintf("%q is no name of a variable", name), "use letters, digits and underscores")
	}
	c.oneOf(j.ProcessType, "ProcessType", "Background", "Standard", "Adaptive", "Interactive", "App")
}

func (c *checker) starts() {
	j := c.job
	isTrue := func(b *bool) bool { return b != nil && *b }
	if k := j.KeepAlive; k != nil {
		c.keepAlive(k)
		always := k.Always && k.Conditions == nil
		c.when(always && isTrue(j.EnablePressuredExit), "EnablePressuredExit", "launchd ignores it for a job with KeepAlive true", "remove one of them")
		runsAtLoad := always || k.Conditions != nil && !k.Conditions.empty() && !isTrue(k.Conditions.AfterInitialDemand)
		c.when(runsAtLoad && j.RunAtLoad != nil && !*j.RunAtLoad, "RunAtLoad",
			"false has no effect: KeepAlive starts the job at load", "remove one of them, or add KeepAlive's condition AfterInitialDemand")
	}
	c.when(j.StartInterval != nil && *j.StartInterval < 1, "StartInterval", "launchd ignores less than a second", "use 1 or more seconds")
	for i, at := range j.StartCalendarInterval.Values {
		key := "StartCalendarInterval"
		if !j.StartCalendarInterval.Bare {
			key = fmt.Sprintf("%s[%d]", key, i)
		}
		c.calendar(at, key)
	}
}

func (c *checker) keepAlive(k *KeepAlive) {
	if k.Conditions == nil {
		return
	}
	c.when(k.Conditions.empty(), "KeepAlive", "a dictionary without a condition keeps nothing alive", "use true, or a condition such as SuccessfulExit")
	c.when(k.Conditions.NetworkState != nil, "KeepAlive.NetworkState", "launchd does not implement it any more", "remove it")
	for path := range k.Conditions.PathState {
		c.path(path, "KeepAlive.PathState")
	}
}

func (k *KeepAliveConditions) empty() bool {
	return k.SuccessfulExit == nil && k.Crashed == nil && k.AfterInitialDemand == nil && k.NetworkState == nil &&
		len(k.PathState)+len(k.OtherJobEnabled)+len(k.OtherJobActive)+len(k.Extra) == 0
}

func (c *checker) calendar(at CalendarInterval, key string) {
	c.within(at.Minute, 0, 59, key+".Minute")
	c.within(at.Hour, 0, 23, key+".Hour")
	c.within(at.Day, 1, 31, key+".Day")
	c.within(at.Weekday, 0, 7, key+".Weekday")
	c.within(at.Month, 1, 12, key+".Month")
	if at.Day == nil || at.Month == nil {
		return
	}
	longest, short := map[int]int{2: 29, 4: 30, 6: 30, 9: 30, 11: 30}[*at.Month]
	c.when(short && *at.Day > longest && *at.Day <= 31, key+".Day", "the month has no such day, so it never comes", fmt.Sprintf("use at most %d", longest))
}

func (c *checker) limits() {
	j := c.job
	if n := j.ThrottleInterval; n != nil {
		c.when(*n < 1, "ThrottleInterval", fmt.Sprintf("launchd ignores %d and waits 10 seconds", *n), "use 1 or more seconds")
	}
	c.when(j.ExitTimeOut != nil && *j.ExitTimeOut < 0, "ExitTimeOut", "it is negative", "use a number of seconds")
	c.within(j.Nice, -20, 20, "Nice")
	if u := j.Umask; u != nil {
		mask := int64(u.Int)
		var err error
		if u.Str != nil {
			mask, err = strtoul(*u.Str)
		}
		c.when(err != nil || mask < 0 || mask > 0o777, "Umask", "it is no mask of permissions", "use text such as 022, or its decimal number 18")
	}
	for _, l := range []struct {
		key    string
		limits *ResourceLimits
	}{{"SoftResourceLimits", j.SoftResourceLimits}, {"HardResourceLimits", j.HardResourceLimits}} {
		if l.limits == nil {
			continue
		}
		r := l.limits
		for name, n := range map[string]*int{
			"Core": r.Core, "CPU": r.CPU, "Data": r.Data, "FileSize": r.FileSize, "MemoryLock": r.MemoryLock,
			"NumberOfFiles": r.NumberOfFiles, "NumberOfProcesses": r.NumberOfProcesses, "ResidentSetSize": r.ResidentSetSize, "Stack": r.Stack,
		} {
			c.when(n != nil && *n < 0, l.key+"."+name, "it is negative", "use 0 or more")
		}
	}
}

// strtoul reads a number as strtoul(3) does with base 0: "18", "022", "0x12".
// Go's own base 0 takes 0o22, 0b11 and 1_8 too, of which strtoul reads 0, 0
// and 1.
func strtoul(s string) (int64, error) {
	base := 10
	if strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X") {
		s, base = s[2:], 16
	} else if strings.HasPrefix(s, "0") {
		base = 8
	}
	n, err := strconv.ParseUint(s, base, 63)
	return int64(n), err
}

func (c *checker) files() {
	j := c.job
	c.path(j.WorkingDirectory, "WorkingDirectory")
	c.path(j.RootDirectory, "RootDirectory")
	c.path(j.StandardInPath, "StandardInPath")
	c.path(j.StandardOutPath, "StandardOutPath")
	c.path(j.StandardErrorPath, "StandardErrorPath")
	for i, path := range j.WatchPaths {
		c.path(path, fmt.Sprintf("WatchPaths[%d]", i))
	}
	for i, path := range j.QueueDirectories {
		c.path(path, fmt.Sprintf("QueueDirectories[%d]", i))
	}
}

func (c *checker) sockets() {
	for name, list := range c.job.Sockets {
		for i, s := range list.Values {
			key := "Sockets." + name
			if !list.Bare {
				key = fmt.Sprintf("%s[%d]", key, i)
			}
			c.oneOf(s.SockType, key+".SockType", "stream", "dgram", "seqpacket")
			c.oneOf(s.SockFamily, key+".SockFamily", "IPv4", "IPv6", "IPv4v6", "Unix")
			c.oneOf(s.SockProtocol, key+".SockProtocol", "TCP", "UDP")
			c.path(s.SockPathName, key+".SockPathName")
			c.within(s.SockPathMode, 0, 0o777, key+".SockPathMode")
			if n := s.SockServiceName; n != nil && n.Str == nil {
				c.within(&n.Int, 0, 65535, key+".SockServiceName")
			}
			c.when(s.SockPathName != "" && s.SockServiceName != nil, key, "it is both a Unix socket and one of the network", "remove SockPathName or SockServiceName")
		}
	}
}

// obsolete notes what launchd.plist(5) says is not, or no longer, implemented.
func (c *checker) obsolete() {
	j := c.job
	for key, set := range map[string]bool{
		"LimitLoadToHosts": j.LimitLoadToHosts != nil, "LimitLoadFromHosts": j.LimitLoadFromHosts != nil,
		"ServiceIPC": j.ServiceIPC != nil, "TimeOut": j.TimeOut != nil,
		"HopefullyExitsFirst": j.HopefullyExitsFirst != nil, "HopefullyExitsLast": j.HopefullyExitsLast != nil,
	} {
		c.when(set, key, "launchd does not implement it", "remove it")
	}
	c.when(j.OnDemand != nil, "OnDemand", "launchd.plist(5) deprecates it", "use KeepAlive, which is its opposite")
}

// sessionTypes are the sessions whose jobs each kind of domain holds.
var sessionTypes = map[string][]string{
	"gui": {"Aqua"}, "login": {"Aqua", "LoginWindow"}, "user": {"Background"}, "system": {"System"},
}

// session notes a job for another session than the domain's: launchd's code
// 134, which launchctl shows as 5.
func (c *checker) session(d DomainTarget) {
	want := c.job.LimitLoadToSessionType.Values
	have, known := sessionTypes[d.kind]
	if len(want) == 0 || !known {
		return
	}
	fits := slices.ContainsFunc(want, func(s string) bool { return slices.Contains(have, s) })
	c.refused(!fits, "LimitLoadToSessionType", fmt.Sprintf("%s is not of session %s", d, strings.Join(want, ", ")), "remove it, or add "+have[0])
	all := slices.Concat(slices.Collect(maps.Values(sessionTypes))...)
	for _, s := range want {
		c.when(!slices.Contains(all, s) && s != "StandardIO", "LimitLoadToSessionType", fmt.Sprintf("launchd does not know %q", s), "use Aqua, Background, LoginWindow, StandardIO or System")
	}
}
