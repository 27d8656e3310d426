package launchdtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

// A Row is one situation of the conformance table and what launchctl must
// answer in it.
type Row struct {
	Name string
	// Evidence is where the answer was seen, or the document that states it.
	Evidence string
	// Plist is the body of the job's dictionary after the Label, and may
	// contain what Args may; empty is a job that sleeps and is started by
	// kickstart only.
	Plist string
	// Mode is that of the plist file; zero is 0644.
	Mode os.FileMode
	// NoFile leaves the plist unwritten.
	NoFile bool
	Steps  []Step
	// Knobs, if not nil, is what the emulator needs to be in the situation;
	// a real launchctl cannot be brought into it, and skips the row.
	Knobs *emulator.Knobs
	// MinOS is the first release that the row holds for, MaxOS the last.
	MinOS, MaxOS emulator.OS
	// Root and User limit the row to who runs it, if one of them is set.
	Root, User bool
}

// A Step is one command of a row.
type Step struct {
	// Args may contain {domain}, {target}, {label}, {plist} and {uid}.
	Args string
	// Codes are the acceptable exit codes; where the field has shown several,
	// all of them are.
	Codes []int
	// Stdout and Stderr must be contained in the output; a "|" separates
	// alternatives. Stdout "number" is a number and nothing else, "nothing"
	// no output at all.
	Stdout, Stderr string
	// Await repeats the command until it gives this answer.
	Await bool
	// Ready runs no command but waits until the job has made the file {ready}
	// of its plist.
	Ready bool
}

// A Subject is the launchctl under test.
type Subject struct {
	// Run runs it with args.
	Run func(args ...string) Result
	// OS is the release, for rows that depend on it. Zero is the newest.
	OS emulator.OS
	// Real is a launchctl of Apple's; rows with Knobs do not apply to it.
	Real bool
}

func (s Subject) os() emulator.OS {
	if s.OS == 0 {
		return emulator.MacOS26
	}
	return s.OS
}

// conformanceLabel is one for all rows: a label that was ever enabled or
// disabled stays in the real launchd's database for good.
const conformanceLabel = "com.haltonlabs.conformance"

// conformancePatience bounds Await.
const conformancePatience = time.Minute

// Conform checks the rows that apply to the subject, one after the other, and
// leaves nothing loaded.
func Conform(t *testing.T, start func(t *testing.T, knobs *emulator.Knobs) Subject, rows []Row) {
	for _, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			s := start(t, row.Knobs)
			if row.applies(s) {
				row.check(t, s)
			}
		})
	}
}

func (r Row) applies(s Subject) bool {
	root := os.Getuid() == 0
	switch {
	case s.Real && r.Knobs != nil, s.os() < r.MinOS, r.MaxOS != 0 && s.os() > r.MaxOS, r.Root && !root, r.User && root:
		return false
	}
	return true
}

const sleeper = `<key>ProgramArguments</key><array><string>/bin/sh</string><string>-c</string><string>exec sleep 1000</string></array>
<key>ThrottleInterval</key><integer>1</integer>`

func (r Row) check(t *testing.T, s Subject) {
	domain := "gui/" + strconv.Itoa(os.Getuid())
	plist := filepath.Join(t.TempDir(), conformanceLabel+".plist")
	target := domain + "/" + conformanceLabel
	fill := strings.NewReplacer("{domain}", domain, "{target}", target, "{label}", conformanceLabel,
		"{plist}", plist, "{ready}", plist+".ready", "{uid}", strconv.Itoa(os.Getuid()))
	if !r.NoFile {
		r.write(t, plist, fill)
	}
	t.Cleanup(func() {
		if s.Run("bootout", target).Code == 0 {
			await(t, s, []string{"print", target}, func(a Result) bool { return a.Code != 0 })
		}
	})
	for _, step := range r.Steps {
		if step.Ready {
			awaitFile(t, plist+".ready")
			continue
		}
		args := strings.Fields(fill.Replace(step.Args))
		step.Stdout, step.Stderr = fill.Replace(step.Stdout), fill.Replace(step.Stderr)
		var a Result
		if step.Await {
			a = await(t, s, args, func(a Result) bool { return step.mismatch(a) == "" })
		} else {
			a = s.Run(args...)
		}
		if why := step.mismatch(a); why != "" {
			t.Fatalf("launchctl %s: %s\nexit code %d\nstdout: %s\nstderr: %s\nevidence: %s",
				strings.Join(args, " "), why, a.Code, a.Stdout, a.Stderr, r.Evidence)
		}
	}
}

func (r Row) write(t *testing.T, path string, fill *strings.Replacer) {
	t.Helper()
	body, mode := r.Plist, r.Mode
	if body == "" {
		body = sleeper
	}
	if mode == 0 {
		mode = 0o644
	}
	text := `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict><key>Label</key><string>` + conformanceLabel + "</string>\n" + fill.Replace(body) + "\n</dict></plist>\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, s Subject, args []string, is func(Result) bool) Result {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(conformancePatience); ; <-tick.C {
		if a := s.Run(args...); is(a) || time.Now().After(end) {
			return a
		}
	}
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(conformancePatience); time.Now().Before(end); <-tick.C {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
	t.Fatalf("the job does not make %s", path)
}

// mismatch says how a differs from what the step wants, or nothing.
func (s Step) mismatch(a Result) string {
	if !slices.Contains(s.Codes, a.Code) {
		return fmt.Sprintf("exit code %d, want one of %v", a.Code, s.Codes)
	}
	if why := contains(a.Stdout, s.Stdout); why != "" {
		return "stdout " + why
	}
	if why := contains(a.Stderr, s.Stderr); why != "" {
		return "stderr " + why
	}
	return ""
}

func contains(got, want string) string {
	switch want {
	case "nothing":
		if got != "" {
			return "is not empty"
		}
		return ""
	case "number":
		if _, err := strconv.Atoi(strings.TrimSuffix(got, "\n")); err != nil {
			return "is not a bare number"
		}
		return ""
	}
	for alternative := range strings.SplitSeq(want, "|") {
		if strings.Contains(got, alternative) {
			return ""
		}
	}
	return fmt.Sprintf("lacks %q", want)
}
