package unixsock

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// longDir is a directory whose path alone does not fit sun_path.
func longDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	removeShortName(t, dir)
	return dir
}

// removeShortName removes the link to dir after the test.
func removeShortName(t *testing.T, dir string) {
	t.Cleanup(func() {
		short, err := shorten(filepath.Join(dir, strings.Repeat("s", maxPath)))
		if err != nil {
			t.Error(err)
		}
		if err := os.Remove(filepath.Dir(short)); err != nil {
			t.Error(err)
		}
	})
}

// echo accepts one connection and sends back what it gets.
func echo(t *testing.T, ln net.Listener) {
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.Copy(conn, conn)
	}()
	t.Cleanup(func() { ln.Close() })
}

func mustTalk(t *testing.T, path string) {
	t.Helper()
	conn, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	conn.(*net.UnixConn).CloseWrite()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
		t.Fatalf("echo %q, %v", got, err)
	}
}

func TestListenAndDial(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tt := range []struct{ name, path string }{
		{"short", filepath.Join(t.TempDir(), "s")},
		{"relative", "s"},
		{"long", filepath.Join(longDir(t), "edge.sock")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := Listen(tt.path)
			if err != nil {
				t.Fatal(err)
			}
			echo(t, ln)
			mustTalk(t, tt.path)
			st, err := os.Lstat(tt.path)
			if err != nil || st.Mode()&os.ModeSocket == 0 || st.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v, want a socket of 0600", st.Mode(), err)
			}
		})
	}
}

// Exactly at the limit no detour is taken, one byte above it is.
func TestLimitOfThePath(t *testing.T) {
	for _, length := range []int{maxPath, maxPath + 1} {
		dir := t.TempDir()
		for len(dir) < length-40 {
			dir = filepath.Join(dir, "d")
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		removeShortName(t, dir)
		path := filepath.Join(dir, strings.Repeat("s", length-len(dir)-1))
		if len(path) != length {
			t.Fatalf("built a path of %d bytes, want %d", len(path), length)
		}
		ln, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		echo(t, ln)
		if detour := ln.Addr().String() != path; detour != (length > maxPath) {
			t.Errorf("%d bytes: bound as %s", length, ln.Addr())
		}
		mustTalk(t, path)
	}
}

func TestPermissionsUnderAnyUmask(t *testing.T) {
	for _, umask := range []int{0, 0o077, 0o777} {
		path := filepath.Join(t.TempDir(), "s")
		before := unix.Umask(umask)
		ln, err := Listen(path)
		unix.Umask(before)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("umask %o: mode %v, %v", umask, st.Mode(), err)
		}
	}
}

func TestListenReplacesLeftovers(t *testing.T) {
	dir := longDir(t)
	path := filepath.Join(dir, "s")
	dead, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	dead.Close() // leaves its file, as a crash does
	if _, err := os.Lstat(path); err != nil {
		t.Fatal("no leftover to test with:", err)
	}
	if _, err := Dial(t.Context(), path); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial a leftover: %v", err)
	}
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, ln)
	mustTalk(t, path)
}

func TestListenSparesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	file, empty, link := filepath.Join(dir, "file"), filepath.Join(dir, "dir"), filepath.Join(dir, "link")
	err1 := os.WriteFile(file, []byte("precious"), 0o600)
	err2 := os.Mkdir(empty, 0o700)
	err3 := os.Symlink(file, link)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, empty} {
		if ln, err := Listen(path); err == nil {
			ln.Close()
			t.Errorf("%s was replaced by a socket", path)
		}
	}
	ln, err := Listen(link)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if got, err := os.ReadFile(file); err != nil || string(got) != "precious" {
		t.Errorf("file %q, %v", got, err)
	}
}

// The short name may be cleaned away under a running program.
func TestDialAfterTheShortNameIsGone(t *testing.T) {
	path := filepath.Join(longDir(t), "s")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, ln)
	if err := os.Remove(filepath.Dir(ln.Addr().String())); err != nil {
		t.Fatal(err)
	}
	mustTalk(t, path)
}

func TestDialErrors(t *testing.T) {
	path := filepath.Join(longDir(t), "none")
	if _, err := Dial(t.Context(), path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("no socket: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Dial(ctx, path); err == nil {
		t.Error("no error of a canceled context")
	}
}

func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	open, closed := filepath.Join(dir, "open"), filepath.Join(dir, "closed")
	err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(open, 0o700), os.Mkdir(closed, 0o700),
		os.Chmod(open, 0o710), os.Symlink(closed, link))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{closed: true, open: false, file: false, link: false, dir + "/none": false} {
		if got := private(path) == nil; got != want {
			t.Errorf("private(%s) = %v", path, got)
		}
	}
}
