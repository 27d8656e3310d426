package ca

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestCreate(t *testing.T) {
	// A umask must neither widen nor narrow what the files need.
	defer syscall.Umask(syscall.Umask(0o077))
	dir := filepath.Join(t.TempDir(), "state", "ca")
	if err := Create(dir, testHosts); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{".": 0o700, CertFile: 0o644, KeyFile: 0o600} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s has mode %04o, want %04o", name, st.Mode().Perm(), want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("files left over: %v", entries)
	}

	before := read(t, filepath.Join(dir, KeyFile))
	err = Create(dir, testHosts)
	if !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "remove "+dir) {
		t.Errorf("second Create: %v", err)
	}
	if read(t, filepath.Join(dir, KeyFile)) != before {
		t.Error("the second Create changed the key")
	}
}

func TestCreateRefusesHosts(t *testing.T) {
	for _, hosts := range [][]string{nil, {""}, {"*.openai.com"}, {"127.0.0.1"}, {"api.openai.com", "::1"}, {".com"}} {
		dir := filepath.Join(t.TempDir(), "ca")
		if err := Create(dir, hosts); err == nil {
			t.Errorf("Create with hosts %q succeeded", hosts)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Create with hosts %q left something: %v", hosts, err)
		}
	}
}

func TestCreateAfterCrash(t *testing.T) {
	_, dir := newAuthority(t)
	key := read(t, filepath.Join(dir, KeyFile))
	remove(t, filepath.Join(dir, CertFile)) // as if it had not got that far
	if err := Create(dir, testHosts); err != nil {
		t.Fatal(err)
	}
	if read(t, filepath.Join(dir, KeyFile)) != key {
		t.Error("the key was replaced")
	}
	a, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := goVerify(a, mustLeaf(t, a, "api.openai.com").Leaf, "api.openai.com"); err != nil {
		t.Error(err)
	}
}

func TestCreateConcurrently(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			switch err := Create(dir, testHosts); {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, ErrExists):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d calls made the authority", made.Load())
	}
	if _, err := Load(dir); err != nil {
		t.Error(err)
	}
}

func TestLoadRefuses(t *testing.T) {
	type test struct {
		name  string
		spoil func(t *testing.T, dir, cert, key string)
		want  error
		says  string
	}
	tests := []test{
		{"no directory", func(t *testing.T, dir, _, _ string) { must(t, os.RemoveAll(dir)) }, fs.ErrNotExist, "ca.pem"},
		{"no key", func(t *testing.T, _, _, key string) { remove(t, key) }, fs.ErrNotExist, "ca-key.pem"},
		{"group may read", func(t *testing.T, _, _, key string) { must(t, os.Chmod(key, 0o640)) }, ErrKeyExposed, "chmod 600"},
		{"others may read", func(t *testing.T, _, _, key string) { must(t, os.Chmod(key, 0o604)) }, ErrKeyExposed, "chmod 600"},
		{"others may change the directory", func(t *testing.T, dir, _, _ string) { must(t, os.Chmod(dir, 0o770)) }, ErrKeyExposed, "chmod 700"},
		{"symbolic link", func(t *testing.T, dir, _, key string) {
			must(t, os.Rename(key, key+".real"))
			must(t, os.Symlink(key+".real", key))
		}, ErrKeyExposed, "symbolic link"},
		{"FIFO", func(t *testing.T, _, _, key string) {
			remove(t, key)
			must(t, syscall.Mkfifo(key, 0o600))
		}, ErrKeyExposed, "regular file"},
		{"key of another root", func(t *testing.T, _, _, key string) {
			_, other := newAuthority(t)
			must(t, os.Rename(filepath.Join(other, KeyFile), key))
		}, nil, "is not the key of"},
		{"empty key", func(t *testing.T, _, _, key string) { must(t, os.WriteFile(key, nil, 0o600)) }, nil, "no PEM block"},
		{"garbage in the key", func(t *testing.T, _, _, key string) {
			must(t, os.WriteFile(key, []byte("-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n"), 0o600))
		}, nil, "not a private key"},
		{"garbage in the root", func(t *testing.T, _, cert, _ string) {
			must(t, os.WriteFile(cert, []byte("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"), 0o600))
		}, nil, "ca.pem"},
	}
	if os.Geteuid() == 0 { // nobody else can give a file away
		tests = append(tests, test{"another owner", func(t *testing.T, _, _, key string) {
			must(t, os.Chown(key, 12345, -1))
		}, ErrKeyExposed, "chown"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, dir := newAuthority(t)
			tt.spoil(t, dir, filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile))
			_, err := Load(dir)
			if err == nil {
				t.Fatal("loaded")
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error is not %v: %v", tt.want, err)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error does not say %q: %v", tt.says, err)
			}
			if strings.Contains(err.Error(), "aGVsbG8") || strings.Contains(err.Error(), "hello") {
				t.Errorf("error quotes the file: %v", err)
			}
		})
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return string(data)
}

func remove(t *testing.T, path string) {
	t.Helper()
	must(t, os.Remove(path))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
