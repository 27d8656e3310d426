package launchd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
)

func Example() {
	job := &launchd.Job{
		Label: "com.example.agent", ProgramArguments: []string{"/usr/local/bin/agent"},
		KeepAlive: launchd.AlwaysOn(), StandardErrorPath: "/tmp/agent.log",
	}
	data, err := job.Encode()
	if err != nil {
		fmt.Println(err)
	}
	fmt.Print(string(data))
	// Output:
	// <?xml version="1.0" encoding="UTF-8"?>
	// <!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
	// <plist version="1.0">
	// 	<dict>
	// 		<key>KeepAlive</key>
	// 		<true/>
	// 		<key>Label</key>
	// 		<string>com.example.agent</string>
	// 		<key>ProgramArguments</key>
	// 		<array>
	// 			<string>/usr/local/bin/agent</string>
	// 		</array>
	// 		<key>StandardErrorPath</key>
	// 		<string>/tmp/agent.log</string>
	// 	</dict>
	// </plist>
}

// The builders give values of the same types that one can write out.
func ExampleJob() {
	at := launchd.Weekly(time.Monday, 3, 30)
	job := launchd.Job{
		Label: "com.example.backup", Program: "/usr/local/bin/backup",
		StartCalendarInterval: at,
		StartInterval:         launchd.Every(10 * time.Minute),
		KeepAlive: &launchd.KeepAlive{Conditions: &launchd.KeepAliveConditions{
			PathState: map[string]bool{"/etc/backup.conf": true},
		}},
		Umask:              &launchd.IntOrString{Str: new("027")},
		SoftResourceLimits: &launchd.ResourceLimits{NumberOfFiles: new(4096)},
	}
	fmt.Println(*at.Values[0].Weekday, *at.Values[0].Hour, *at.Values[0].Minute, *job.StartInterval, len(job.Validate()))
	// Output: 1 3 30 600 0
}

func ExampleParseJob() {
	job, err := launchd.ParseJob([]byte(`<plist version="1.0"><dict>
		<key>Label</key><string>com.example.agent</string>
		<key>RunAtLoad</key><string>yes</string>
		<key>StartCalendarInterval</key><array><dict><key>Hour</key><integer>3</integer></dict></array>
	</dict></plist>`))
	if err != nil {
		fmt.Println(err)
		return
	}
	times := append(launchd.OneOrMany[launchd.CalendarInterval]{}.Values, job.StartCalendarInterval.Values...)
	fmt.Println(job.Label, *times[0].Hour, job.RunAtLoad == nil, job.Extra)
	// Output: com.example.agent 3 true map[RunAtLoad:yes]
}

func ExampleProblem() {
	job := launchd.Job{Label: "com.example.agent", Program: "~/bin/agent", ThrottleInterval: new(0)}
	var problems []launchd.Problem
	problems = append(problems, job.Validate()...)
	for _, p := range problems {
		fmt.Println(p)
	}
	// Output:
	// Program: launchd does not expand the tilde of "~/bin/agent": write the home directory out
	// ThrottleInterval: launchd ignores 0 and waits 10 seconds: use 1 or more seconds
}

// Most sockets need no more than ListenTCP or ListenUnix.
func ExampleSocket() {
	web := launchd.Socket{
		SockNodeName: "localhost", SockServiceName: &launchd.IntOrString{Int: 8080},
		Bonjour: &launchd.Bonjour{Names: launchd.Many("http")},
	}
	job := launchd.Job{
		Label: "com.example.web", Program: "/usr/local/bin/web",
		Sockets: map[string]launchd.OneOrMany[launchd.Socket]{
			"web": launchd.One(web), "admin": launchd.ListenUnix("/tmp/web.sock"),
		},
	}
	fmt.Println(len(job.Validate()))
	// Output: 0
}

// Keys that few jobs need.
func ExampleMachService() {
	job := launchd.Job{
		Label: "com.example.service", Program: "/usr/local/bin/service",
		MachServices: map[string]launchd.MachService{
			"com.example.plain": {Enabled: true},
			"com.example.reset": {Options: &launchd.MachServiceOptions{ResetAtClose: new(true)}},
		},
		InetdCompatibility:     &launchd.InetdCompatibility{Wait: new(false)},
		LimitLoadToSessionType: launchd.One("Background"),
	}
	fmt.Println(job.ValidateFor(launchd.GUI(501))[0])
	// Output: LimitLoadToSessionType: gui/501 is not of session Background: remove it, or add Aqua
}

func ExampleDomainTarget() {
	var domain launchd.DomainTarget // no domain
	_, err := domain.Service("com.example.agent")
	fmt.Println(errors.Is(err, launchd.ErrBadTarget))
	domain = launchd.GUI(501)
	var agent launchd.ServiceTarget
	agent, err = domain.Service("com.example.agent")
	fmt.Println(agent, err)
	// Output:
	// true
	// gui/501/com.example.agent <nil>
}

// recorded is a client of a launchctl that gives one recorded answer. In a
// test of a real job, use package launchdtest.
func recorded(verb string, answer launchd.Output) *launchd.Client {
	return &launchd.Client{Run: func(_ context.Context, argv, _ []string) (launchd.Output, error) {
		if argv[1] == verb {
			return answer, nil
		}
		return launchd.Output{Code: 113}, nil
	}}
}

func ExampleError() {
	client := recorded("kickstart", launchd.Output{Code: 150})
	agent, err := launchd.System().Service("com.apple.example")
	if err == nil {
		_, err = client.Kickstart(context.Background(), agent, launchd.KickstartOptions{Kill: true})
	}
	var e *launchd.Error
	fmt.Println(errors.Is(err, launchd.ErrPolicy), errors.As(err, &e) && e.Code == 150)
	fmt.Println(err)
	// Output:
	// true true
	// launchctl kickstart system/com.apple.example: exit 150: Operation not permitted while System Integrity Protection is engaged
}

func ExampleClient_List() {
	client := recorded("list", launchd.Output{Stdout: []byte("PID\tStatus\tLabel\n884\t0\tcom.example.agent\n-\t78\tcom.example.broken\n")})
	var entries []launchd.ListEntry
	entries, err := client.List(context.Background())
	for _, e := range entries {
		fmt.Println(e.Label, e.PID, *e.Status)
	}
	fmt.Println(err)
	// Output:
	// com.example.agent 884 0
	// com.example.broken 0 78
	// <nil>
}

func ExampleParseService() {
	data, err := os.ReadFile(filepath.Join("testdata", "print", "crash-loop.txt"))
	if err != nil {
		fmt.Println(err)
		return
	}
	var service *launchd.Service
	service, err = launchd.ParseService(data)
	fmt.Println(service.State, service.PID, *service.LastExitCode, service.Runs, err)
	// Output: spawn scheduled 0 78 22138 <nil>
}

func ExampleParseDomainInfo() {
	var domain *launchd.DomainInfo
	domain, err := launchd.ParseDomainInfo([]byte("gui/501 = {\n\tsession = Aqua\n\n\tservices = {\n\t\t     884      0 \tcom.example.agent\n\t}\n}\n"))
	fmt.Println(domain.Session, domain.Services[0].Label, err)
	// Output: Aqua com.example.agent <nil>
}

// A plist that launchctl refuses for a reason of its own is tried again within
// the budget. What a person needs to find the reason is then in a file.
func ExampleClient_Load() {
	dir, err := os.MkdirTemp("", "launchd")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	plist := filepath.Join(dir, "com.example.agent.plist")
	job := launchd.Job{Label: "com.example.agent", Program: "/bin/sh"}
	if _, err := job.WriteFile(plist); err != nil {
		fmt.Println(err)
		return
	}
	client := &launchd.Client{Run: func(_ context.Context, argv, _ []string) (launchd.Output, error) {
		codes := map[string]int{"bootstrap": 5, "print": 113}
		return launchd.Output{Code: codes[argv[1]]}, nil
	}}
	var result launchd.LoadResult
	result, err = client.Load(context.Background(), launchd.GUI(501), plist, launchd.LoadOptions{
		Budget: 100 * time.Millisecond, BaseDelay: 10 * time.Millisecond,
		Postmortem: filepath.Join(dir, "postmortem.jsonl"),
		OnAttempt: func(a launchd.Attempt) {
			if a.Delay == 0 {
				fmt.Println("first attempt:", a.Code)
			}
		},
	})
	fmt.Println(len(result.Attempts) > 2, strings.Contains(err.Error(), "still refused"))
	// Output:
	// first attempt: 5
	// true true
}
