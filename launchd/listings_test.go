package launchd_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/launchd"
)

func TestParseDisabledOldAndNew(t *testing.T) {
	want := map[string]bool{"com.apple.ftpd": true, "com.openssh.sshd": false, `odd " => name`: true}
	tests := map[string]string{
		"macOS 26": "\n\tdisabled services = {\n\t\t\"com.apple.ftpd\" => disabled\n\t\t\"com.openssh.sshd\" => enabled\n\t\t\"odd \" => name\" => disabled\n\t}\n\n" +
			"\tlogin item associations = {\n\t\t\"com.example.helper\" => disabled\n\t}\n",
		"older": "disabled services = {\n\t\"com.apple.ftpd\" => true\n\t\"com.openssh.sshd\" => false\n\t\"odd \" => name\" => true\n}\n",
		"with odd lines": "login item associations = {\n\t\"x\" => disabled\n}\ndisabled services = {\nnonsense\n\t\"com.apple.ftpd\" => true\n\t\"y\" => maybe\n" +
			"\t\"com.openssh.sshd\" => false\n\t\"odd \" => name\" => true\n",
	}
	for name, text := range tests {
		got, err := launchd.ParseDisabled([]byte(text))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v, %s", name, err, diff)
		}
	}
	if got, err := launchd.ParseDisabled([]byte("disabled services = {\n}\n")); err != nil || got == nil || len(got) != 0 {
		t.Errorf("empty: %v, %v", got, err)
	}
	for _, text := range []string{"", "{", "enabled services = {\n}", strings.Repeat("x", 5<<20)} {
		if got, err := launchd.ParseDisabled([]byte(text)); err == nil {
			t.Errorf("ParseDisabled(%.20q) = %v", text, got)
		}
	}
}

func TestParseList(t *testing.T) {
	got, err := launchd.ParseList([]byte("PID\tStatus\tLabel\n884\t0\tcom.a\n-\t-15\tcom.b\n-\t???\tcom.c\n-\t78\twith\ttab\n\nshort\tline\n"))
	want := []launchd.ListEntry{
		{Label: "com.a", PID: 884, Status: new(0)}, {Label: "com.b", Status: new(-15)}, {Label: "com.c"}, {Label: "with\ttab", Status: new(78)},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for _, text := range []string{"", "PID Status Label\n", "{\n}"} {
		if got, err := launchd.ParseList([]byte(text)); err == nil {
			t.Errorf("ParseList(%q) = %v", text, got)
		}
	}
}

func FuzzListings(f *testing.F) {
	f.Add([]byte("disabled services = {\n\t\"a\" => true\n}\n"))
	f.Add([]byte("PID\tStatus\tLabel\n884\t0\tcom.a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if list, err := launchd.ParseList(data); err == nil {
			for _, e := range list {
				if e.Label == "" || e.PID < 0 || strings.Contains(e.Label, "\n") {
					t.Errorf("entry %+v", e)
				}
			}
		}
		if all, err := launchd.ParseDisabled(data); err == nil {
			for label := range all {
				if strings.Contains(label, "\n") {
					t.Errorf("label %q", label)
				}
			}
		}
	})
}
