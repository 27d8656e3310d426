package launchd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"howett.net/plist"
)

// everything has each documented key of launchd.plist(5) with a value of the
// documented type.
func everything(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "everything.plist"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func xmlPlist(body string) []byte {
	return []byte(`<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict>` + body + `</dict></plist>`)
}

func decoded(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if _, err := plist.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func roundTrip(t *testing.T, data []byte) *Job {
	t.Helper()
	job, err := ParseJob(data)
	if err != nil {
		t.Fatal(err)
	}
	out, err := job.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decoded(t, data), decoded(t, out)); diff != "" {
		t.Errorf("parse and encode changed the plist (-in +out):\n%s", diff)
	}
	again, err := ParseJob(out)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(job, again) {
		t.Errorf("a second parse gives another job")
	}
	return job
}

func TestEveryDocumentedKeyIsTyped(t *testing.T) {
	job := roundTrip(t, everything(t))
	for path, extra := range extras(reflect.ValueOf(job), "") {
		t.Errorf("%s.Extra = %v, want nothing", path, extra)
	}
	if got := *job.Umask.Str; got != "022" {
		t.Errorf("Umask = %q", got)
	}
	if got := *job.KeepAlive.Conditions.SuccessfulExit; got {
		t.Errorf("SuccessfulExit = %v", got)
	}
	if got := job.Sockets["Listeners"].Values[1].SockServiceName.Int; got != 8081 {
		t.Errorf("SockServiceName = %d", got)
	}
}

// extras yields the Extra of v and of everything within it.
func extras(v reflect.Value, path string) func(func(string, map[string]any) bool) {
	return func(yield func(string, map[string]any) bool) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				extras(v.Elem(), path)(yield)
			}
		case reflect.Slice:
			for i := range v.Len() {
				extras(v.Index(i), fmt.Sprintf("%s[%d]", path, i))(yield)
			}
		case reflect.Map:
			for iter := v.MapRange(); iter.Next(); {
				extras(iter.Value(), path+"."+iter.Key().String())(yield)
			}
		case reflect.Struct:
			for i := range v.NumField() {
				f := v.Type().Field(i)
				if f.Name == "Extra" && v.Field(i).Len() > 0 && !yield(path, v.Field(i).Interface().(map[string]any)) {
					return
				}
				if f.IsExported() && f.Name != "Extra" {
					extras(v.Field(i), path+"."+f.Name)(yield)
				}
			}
		}
	}
}

func TestRoundTripLosesNothing(t *testing.T) {
	tests := map[string]string{
		"nothing":             ``,
		"unknown key":         `<key>NotAKey</key><dict><key>a</key><array><integer>-1</integer><real>1.5</real></array></dict>`,
		"date and data":       `<key>X</key><date>2026-11-23T09:00:00Z</date><key>Y</key><data>AAEC</data>`,
		"wrong types":         `<key>Label</key><integer>1</integer><key>RunAtLoad</key><string>yes</string><key>StartInterval</key><real>60</real><key>ProgramArguments</key><string>x</string>`,
		"mixed array":         `<key>ProgramArguments</key><array><string>a</string><integer>1</integer></array>`,
		"mixed environment":   `<key>EnvironmentVariables</key><dict><key>A</key><string>a</string><key>B</key><integer>1</integer></dict>`,
		"bad environment":     `<key>EnvironmentVariables</key><dict><key>B</key><integer>1</integer></dict>`,
		"empty containers":    `<key>KeepAlive</key><dict/><key>EnvironmentVariables</key><dict/><key>WatchPaths</key><array/><key>Sockets</key><dict/><key>StartCalendarInterval</key><array/><key>LimitLoadToSessionType</key><array/>`,
		"empty strings":       `<key>Label</key><string></string><key>Program</key><string/><key>Sockets</key><dict><key>L</key><dict><key>SockNodeName</key><string/></dict></dict>`,
		"false is not absent": `<key>RunAtLoad</key><false/><key>KeepAlive</key><false/><key>Disabled</key><false/><key>ExitTimeOut</key><integer>0</integer>`,
		"array of one":        `<key>StartCalendarInterval</key><array><dict><key>Hour</key><integer>3</integer></dict></array><key>LimitLoadToSessionType</key><array><string>Aqua</string></array>`,
		"bare one":            `<key>StartCalendarInterval</key><dict><key>Hour</key><integer>3</integer></dict><key>LimitLoadToSessionType</key><string>Aqua</string>`,
		"bad in keepalive":    `<key>KeepAlive</key><dict><key>Crashed</key><integer>1</integer><key>PathState</key><dict><key>/a</key><true/><key>/b</key><string>x</string></dict></dict>`,
		"sockets":             `<key>Sockets</key><dict><key>A</key><array><dict><key>SockServiceName</key><string>http</string><key>Bonjour</key><array><string>x</string></array></dict></array><key>B</key><string>no</string></dict>`,
		"mach services":       `<key>MachServices</key><dict><key>a</key><true/><key>b</key><dict><key>ResetAtClose</key><true/><key>Odd</key><true/></dict><key>c</key><integer>1</integer></dict>`,
		"big integer":         `<key>Nice</key><integer>18446744073709551615</integer>`,
		"case differs":        `<key>enabletransactions</key><true/>`,
		"text":                "<key>Label</key><string>&lt;&amp;é\U0001F600&#x9;&#xA;&#xD;</string>",
		"umask number":        `<key>Umask</key><integer>18</integer>`,
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) { roundTrip(t, xmlPlist(body)) })
	}
}

func TestBinaryFormIsRead(t *testing.T) {
	want := roundTrip(t, everything(t))
	data, err := plist.Marshal(decoded(t, everything(t)), plist.BinaryFormat)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseJob(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("the binary form gives another job than the XML form")
	}
}

func TestIllTypedValuesStayInExtra(t *testing.T) {
	job := roundTrip(t, xmlPlist(`<key>EnvironmentVariables</key><dict><key>A</key><string>a</string><key>B</key><integer>1</integer></dict>`))
	if diff := cmp.Diff(map[string]string{"A": "a"}, job.EnvironmentVariables); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"EnvironmentVariables": map[string]any{"B": uint64(1)}}, job.Extra); diff != "" {
		t.Error(diff)
	}
	job.Extra = map[string]any{"Program": 1}
	job.Program = "/bin/true"
	out, err := job.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got := decoded(t, out)["Program"]; got != "/bin/true" {
		t.Errorf("Program = %v, want the field before Extra", got)
	}
}

func TestEncodeRefusesWhatXMLCannotHold(t *testing.T) {
	deep := map[string]any{}
	for range maxPlistDepth + 1 {
		deep = map[string]any{"x": deep}
	}
	loop := map[string]any{}
	loop["x"] = loop
	tests := map[string]struct {
		job  Job
		want string
	}{
		"control character": {Job{EnvironmentVariables: map[string]string{"A": "x\x00"}}, "EnvironmentVariables.A"},
		"invalid UTF-8":     {Job{ProgramArguments: []string{"a", "\xff"}}, "ProgramArguments[1]"},
		"in a key":          {Job{EnvironmentVariables: map[string]string{"A\x1b": "x"}}, "EnvironmentVariables.A"},
		"no value":          {Job{Extra: map[string]any{"A": nil}}, "A: no value"},
		"no plist form":     {Job{Extra: map[string]any{"A": make(chan int)}}, "chan int"},
		"too deep":          {Job{Extra: deep}, "deeper"},
		"endless":           {Job{Extra: loop}, "deeper"},
		"too big":           {Job{Program: strings.Repeat("x", maxPlistBytes)}, "larger"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := tt.job.Encode()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one about %q", err, tt.want)
			}
		})
	}
}

// sharedBomb is a binary plist whose arrays hold the next one twice each, and
// so doubles with every level.
func sharedBomb(levels int) []byte {
	body := []byte("bplist00")
	var table []byte
	add := func(object ...byte) {
		table = append(table, byte(len(body)))
		body = append(body, object...)
	}
	add(0xD1, 1, 2)
	add(0x51, 'a')
	for i := range levels {
		add(0xA2, byte(i+3), byte(i+3))
	}
	add(0x10, 7)
	trailer := make([]byte, 32)
	trailer[6], trailer[7] = 1, 1
	binary.BigEndian.PutUint64(trailer[8:], uint64(len(table)))
	binary.BigEndian.PutUint64(trailer[24:], uint64(len(body)))
	return append(append(body, table...), trailer...)
}

func TestHostileInputIsRefused(t *testing.T) {
	loop := sharedBomb(2)
	copy(loop[len("bplist00")+3+2:], []byte{0xA2, 2, 2})
	endless := sharedBomb(1)
	binary.BigEndian.PutUint64(endless[len(endless)-24:], math.MaxUint64)
	tests := map[string]struct {
		data []byte
		want string
	}{
		"empty":             {nil, "neither an XML nor a binary"},
		"openstep text":     {[]byte("hello"), "neither an XML nor a binary"},
		"openstep nest":     {bytes.Repeat([]byte("("), maxPlistBytes), "neither an XML nor a binary"},
		"openstep data":     {[]byte("<48656c6c6f>"), "malformed"},
		"not a dictionary":  {[]byte(`<plist><array/></plist>`), "not a dictionary"},
		"huge":              {bytes.Repeat([]byte("<array>"), 5<<20), "larger than"},
		"nest of arrays":    {bytes.Repeat([]byte("<array>"), 100_000), "deeper than"},
		"entities":          {[]byte(`<!DOCTYPE plist [<!ENTITY a "x">]><plist><dict><key>A</key><string>&a;</string></dict></plist>`), "entity"},
		"shared references": {sharedBomb(30), "grows too large"},
		"deep references":   {sharedBomb(70), "deeper than"},
		"self reference":    {loop, "holds itself"},
		"endless table":     {endless, "corrupt"},
		"only a header":     {[]byte("bplist00"), "corrupt"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			job, err := ParseJob(tt.data)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("job = %v, error = %v, want one about %q", job, err, tt.want)
			}
		})
	}
	if _, err := ParseJob(sharedBomb(5)); err != nil {
		t.Errorf("a little sharing is refused: %v", err)
	}
}

func FuzzParseJob(f *testing.F) {
	f.Add(xmlPlist(`<key>Label</key><string>a</string><key>KeepAlive</key><true/>`))
	f.Add(sharedBomb(3))
	f.Add([]byte("<plist><dict><key>A</key><integer>0x1</integer></dict></plist>"))
	if data, err := os.ReadFile(filepath.Join("testdata", "everything.plist")); err == nil {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		job, err := ParseJob(data)
		if err != nil {
			return
		}
		out, err := job.Encode()
		if err != nil {
			return // text that XML cannot hold, from a binary list
		}
		again, err := ParseJob(out)
		if err != nil {
			t.Fatalf("cannot read what Encode wrote: %v\n%s", err, out)
		}
		twice, err := again.Encode()
		if err != nil || !bytes.Equal(out, twice) {
			t.Fatalf("not stable: %v\n%s\n%s", err, out, twice)
		}
	})
}
