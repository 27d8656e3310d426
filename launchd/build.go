package launchd

import "time"

// AlwaysOn is the KeepAlive of a job that starts when it is loaded and again
// whenever it ends.
func AlwaysOn() *KeepAlive { return &KeepAlive{Always: true} }

// RestartAfterFailure is the KeepAlive of a job that starts when it is loaded
// and again after each end but a successful one: exit status 0 ends it until
// somebody demands it.
func RestartAfterFailure() *KeepAlive {
	return &KeepAlive{Conditions: &KeepAliveConditions{SuccessfulExit: new(false)}}
}

// Every is a StartInterval, in whole seconds and at least one.
func Every(d time.Duration) *int { return new(max(int(d/time.Second), 1)) }

// Daily is the StartCalendarInterval of every day at that time. A job that
// was due while the machine slept is started once, when it wakes.
func Daily(hour, minute int) OneOrMany[CalendarInterval] {
	return One(CalendarInterval{Hour: new(hour), Minute: new(minute)})
}

// Weekly is the StartCalendarInterval of one day of the week at that time.
func Weekly(day time.Weekday, hour, minute int) OneOrMany[CalendarInterval] {
	return One(CalendarInterval{Weekday: new(int(day)), Hour: new(hour), Minute: new(minute)})
}

// ListenTCP is an entry of Sockets: launchd listens there and starts the job
// for the first connection. The service is a port, or a name of services(5),
// the node a name or an address, such as "127.0.0.1".
func ListenTCP(node, service string) OneOrMany[Socket] {
	return One(Socket{SockNodeName: node, SockServiceName: &IntOrString{Str: &service}, SockType: "stream"})
}

// ListenUnix is an entry of Sockets for a Unix socket at an absolute path,
// which only its owner may use.
func ListenUnix(path string) OneOrMany[Socket] {
	return One(Socket{SockPathName: path, SockPathMode: new(0o600), SockType: "stream"})
}
