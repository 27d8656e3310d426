package portalloc

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/filelock"
)

var old = time.Date(2026, 11, 1, 12, 0, 0, 123_456_789, time.UTC)

func mustLock(t *testing.T, path string) *filelock.Lock {
	t.Helper()
	l, err := filelock.Try(path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRecordFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ports.json")
	r := Record{Ports: map[string]int{"edge": 8081, "internal": 8090, "api": 0}, PID: 4711, StartedAt: old, Process: "3f/4711/123"}
	if err := r.Write(path); err != nil {
		t.Fatal(err)
	}
	want := `{
  "api_port": 0,
  "edge_port": 8081,
  "internal_port": 8090,
  "pid": 4711,
  "process": "3f/4711/123",
  "started_at": "2026-11-01T12:00:00.123456789Z"
}
`
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("file:\n%s%v\nwant:\n%s", got, err, want)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	back, err := ReadRecord(path)
	if err != nil || !maps.Equal(back.Ports, r.Ports) || back.PID != r.PID || back.Process != r.Process || !back.StartedAt.Equal(old) {
		t.Errorf("read %+v, %v", back, err)
	}
}

func TestReadRecordMissing(t *testing.T) {
	_, err := ReadRecord(filepath.Join(t.TempDir(), "none"))
	if !errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrCorrupt) {
		t.Errorf("error = %v", err)
	}
}

func TestRecordIsStrict(t *testing.T) {
	const owner = `"pid":1,"started_at":"2026-11-01T12:00:00Z"`
	for _, good := range []string{
		`{` + owner + `}`,
		` {"a_port":1,` + owner + `,"b_port":65535,"c_port":0,"d_port":0} ` + "\n",
		`{"pid":0,"started_at":"0001-01-01T00:00:00Z"}`,
		`{` + owner + `,"process":"3f/1/2"}`,
	} {
		if err := new(Record).UnmarshalJSON([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		``, `null`, `[]`, `7`, `"x"`, `{`, `{}`, `{]`,
		`{` + owner,
		`{` + owner + `,}`,
		`{` + owner + `}{}`,
		`{` + owner + `} x`,
		`{"pid":1}`,
		`{"started_at":"2026-11-01T12:00:00Z"}`,
		`{` + owner + `,"pid":1}`,
		`{` + owner + `,"a_port":1,"a_port":1}`,
		`{` + owner + `,"a_port":1,"b_port":1}`,
		`{` + owner + `,"a_port":65536}`,
		`{` + owner + `,"a_port":-1}`,
		`{` + owner + `,"a_port":1.0}`,
		`{` + owner + `,"a_port":1e3}`,
		`{` + owner + `,"a_port":"1"}`,
		`{` + owner + `,"a_port":null}`,
		`{` + owner + `,"a_port":[1]}`,
		`{` + owner + `,"a_port":{"x":1}}`,
		`{` + owner + `,"_port":1}`,
		`{` + owner + `,"A_port":1}`,
		`{` + owner + `,"a":1}`,
		`{"PID":1,"started_at":"2026-11-01T12:00:00Z"}`,
		`{"pid":4294967296,"started_at":"2026-11-01T12:00:00Z"}`,
		`{` + owner + `,"process":1}`,
		`{` + owner + `,"process":""}`,
		`{` + owner + `,"process":"\n"}`,
		`{` + owner + `,"process":"` + strings.Repeat("x", 201) + `"}`,
		`{"pid":1,"started_at":"yesterday"}`,
		`{"pid":1,"started_at":1}`,
		`{"pid":1,"started_at":"2026-11-01T12:00:00"}`,
		strings.Repeat(`[`, maxRecord-1),
		`{` + owner + `}` + strings.Repeat(" ", maxRecord),
	} {
		r := Record{PID: 5}
		if err := r.UnmarshalJSON([]byte(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%.80s: error = %v", bad, err)
		}
		if r.PID != 5 || r.Ports != nil {
			t.Errorf("%.80s: changed the record to %+v", bad, r)
		}
	}
}

func TestWriteRefusesWhatReadWould(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ports.json")
	for _, r := range []Record{
		{Ports: map[string]int{"a": 70_000}},
		{Ports: map[string]int{"A": 1}},
		{Ports: map[string]int{"a": 1, "b": 1}},
		{PID: -1},
		{Process: "two words"},
		{StartedAt: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if err := r.Write(path); err == nil {
			t.Errorf("%+v: no error", r)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a file was written")
	}
}

// FuzzReadRecord: whatever the file holds, the answer is a record that can be
// encoded and decoded again, or ErrCorrupt.
func FuzzReadRecord(f *testing.F) {
	f.Add([]byte(`{"edge_port":8081,"internal_port":8090,"api_port":8765,"pid":4711,"started_at":"2026-11-01T12:00:00.5Z"}`))
	f.Add([]byte(`{"pid":0,"started_at":"0001-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"pid":4711,"process":"3f/4711/123","started_at":"2026-11-01T12:00:00.5Z"}`))
	f.Add([]byte(`{"a_port":1,"a_port":2,"pid":1,"started_at":"2026-11-01T12:00:00+23:59"}`))
	f.Add([]byte(`{"a_port":{"a_port":[[[`))
	f.Add(bytes.Repeat([]byte{'{'}, maxRecord+1))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "ports.json")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := ReadRecord(path)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error = %v, want ErrCorrupt", err)
			}
			return
		}
		data, err = r.MarshalJSON()
		if err != nil {
			t.Fatalf("encode %+v: %v", r, err)
		}
		var again Record
		err = again.UnmarshalJSON(data)
		if err != nil || !maps.Equal(r.Ports, again.Ports) || r.PID != again.PID || r.Process != again.Process || !r.StartedAt.Equal(again.StartedAt) {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

// On a full disk the blocks of the old record take the new one. (The tests of
// cmd/halton-meter fill a disk up.)
func TestOverwrite(t *testing.T) {
	dir := t.TempDir()
	long := Record{Ports: map[string]int{"api": 12345, "edge": 23456}, PID: 123456, StartedAt: time.Unix(1e9, 5).UTC()}
	short := Record{Ports: map[string]int{"api": 80}, PID: 7, StartedAt: time.Unix(1e9, 0).UTC()}
	path := filepath.Join(dir, "ports.json")
	if err := short.Write(path); err != nil {
		t.Fatal(err)
	}
	for _, r := range []Record{long, short} {
		data, err := r.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := overwrite(path, data); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadRecord(path); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("reads %+v, %v; want %+v", got, err, r)
		}
	}

	link, fifo, open := filepath.Join(dir, "link"), filepath.Join(dir, "fifo"), filepath.Join(dir, "open")
	if err := errors.Join(os.Symlink(path, link), unix.Mkfifo(fifo, 0o600), os.WriteFile(open, nil, 0o644), os.Chmod(open, 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, fifo, open, dir, filepath.Join(dir, "none")} {
		if err := overwrite(path, []byte("{}")); err == nil {
			t.Errorf("%s was written", filepath.Base(path))
		}
	}
}
