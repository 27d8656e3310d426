package launchd_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/emulator"
)

const listingCapture = `{
	"StandardOutPath" = "/var/log/runner.out.log";
	"LimitLoadToSessionType" = "Aqua";
	"MachServices" = {
		"com.example" = mach-port-object;
		"PID" = 1;
	};
	"Label" = "com.example.agent";
	"OnDemand" = false;
	"LastExitStatus" = 19200;
	"PID" = 884;
	"Program" = "/usr/local/bin/agent";
	"ProgramArguments" = (
		"/usr/local/bin/agent";
		"two
lines";
		"say "hi"";
	);
	"Comment" = "first
	"PID" is not here
last";
};
`

func TestParseListing(t *testing.T) {
	got, err := launchd.ParseListing([]byte(listingCapture))
	if err != nil {
		t.Fatal(err)
	}
	if got.Values["OnDemand"] != "false" || got.Values["Comment"] != "first\n\t\"PID\" is not here\nlast" {
		t.Errorf("values = %q", got.Values)
	}
	got.Values = nil
	want := &launchd.Listing{
		Label: label, PID: 884, Program: "/usr/local/bin/agent", LastExitStatus: new(19200),
		ProgramArguments: []string{"/usr/local/bin/agent", "two\nlines", `say "hi"`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", "PID\tStatus\tLabel\n", strings.Repeat("{", 5<<20)} {
		if l, err := launchd.ParseListing([]byte(text)); err == nil {
			t.Errorf("ParseListing(%.20q) = %+v", text, l)
		}
	}
}

func TestListingLastExit(t *testing.T) {
	for raw, want := range map[int]string{0: "0 true", 256: "1 true", 19200: "75 true", 15: "-15 true", 9: "-9 true", 0x7f: "0 false"} {
		status, ok := (&launchd.Listing{LastExitStatus: new(raw)}).LastExit()
		if got := fmt.Sprint(status, ok); got != want {
			t.Errorf("LastExit of %d = %s, want %s", raw, got, want)
		}
	}
	if _, ok := new(launchd.Listing).LastExit(); ok {
		t.Error("an exit out of nothing")
	}
}

func TestListJob(t *testing.T) {
	m := newMachine(t, emulator.Knobs{})
	if _, err := m.client.ListJob(t.Context(), label); !errors.Is(err, launchd.ErrNotLoaded) {
		t.Errorf("ListJob of nothing: %v", err)
	}
	m.apply()
	l, err := m.client.ListJob(t.Context(), label)
	if err != nil || l.Label != label || l.PID != m.print().PID || !cmp.Equal(l.ProgramArguments, m.job.ProgramArguments) {
		t.Errorf("ListJob = %+v, %v", l, err)
	}
}

func ExampleParseListing() {
	var l *launchd.Listing
	l, err := launchd.ParseListing([]byte("{\n\t\"Label\" = \"com.example.agent\";\n\t\"LastExitStatus\" = 256;\n};\n"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	fmt.Println(l.Label)
	fmt.Println(l.LastExit())
	// Output:
	// com.example.agent
	// 1 true
}

func FuzzParseListing(f *testing.F) {
	f.Add([]byte(listingCapture))
	f.Fuzz(func(t *testing.T, data []byte) {
		if l, err := launchd.ParseListing(data); err == nil {
			if _, ok := l.LastExit(); ok && l.LastExitStatus == nil || l.PID < 0 {
				t.Errorf("listing %+v", l)
			}
		}
	})
}
