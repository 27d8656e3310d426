package smallfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/haltonlabs/halton-meter/internal/unixsock"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	ln, err := unixsock.Listen(in("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := errors.Join(
		os.WriteFile(in("file"), []byte("four"), 0o600),
		os.WriteFile(in("empty"), nil, 0o600),
		os.Symlink(in("file"), in("link")),
		os.Symlink(in("ring"), in("ring")),
		unix.Mkfifo(in("pipe"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		limit int
		want  string
		err   error
	}{
		{"file", 4, "four", nil},
		{"file", 3, "", ErrTooLarge},
		{"link", 100, "four", nil},
		{"empty", 0, "", nil},
		{"ring", 4, "", ErrNotRegular},
		{"pipe", 4, "", ErrNotRegular},
		{"socket", 4, "", ErrNotRegular},
		{".", 4, "", ErrNotRegular},
		{"none", 4, "", fs.ErrNotExist},
	} {
		got, err := Read(in(tt.name), tt.limit)
		if string(got) != tt.want || !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
			t.Errorf("%s, %d bytes at most: %q, %v; want %q, %v", tt.name, tt.limit, got, err, tt.want, tt.err)
		}
	}
	if _, err := Read("/dev/zero", 4); !errors.Is(err, ErrNotRegular) {
		t.Errorf("/dev/zero: %v", err)
	}
}
