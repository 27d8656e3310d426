package attribution_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/attribution"
)

// realTempDir is a directory whose path has no symbolic links, as the kernel
// tells a process's.
func realTempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// A directory that the client states is taken instead of its process's, and
// its project has the source "wire".
func TestStatedDirectory(t *testing.T) {
	root := realTempDir(t)
	own := filepath.Join(root, "own")
	repo, sub, rc := filepath.Join(root, "repo"), filepath.Join(root, "repo", "web"), filepath.Join(root, "rc", "deep")
	write(t, filepath.Join(repo, ".git", "HEAD"), "ref: refs/heads/main\n")
	write(t, filepath.Join(root, "rc", ".haltonrc"), "project = billing\n")
	for _, dir := range []string{own, sub, rc} {
		mkdir(t, dir)
	}
	if err := os.Symlink(repo, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("rc/./../rc/deep", filepath.Join(root, "relative")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		facts           attribution.Facts
		project, source string
	}{
		{attribution.Facts{Dir: own, Stated: repo}, "repo", "wire"},
		{attribution.Facts{Dir: own, Stated: repo + "/"}, "repo", "wire"},
		{attribution.Facts{Dir: own, Stated: sub}, "repo", "wire"},
		{attribution.Facts{Dir: own, Stated: rc}, "billing", "wire"},
		{attribution.Facts{Dir: own, Stated: own + "/../own"}, "own", "wire"},
		{attribution.Facts{Dir: own, Stated: filepath.Join(root, "link", "web")}, "repo", "wire"},
		{attribution.Facts{Dir: own, Stated: filepath.Join(root, "relative")}, "billing", "wire"},
		{attribution.Facts{Stated: own}, "own", "wire"},
		// The process's own directory lies in it and is more exact.
		{attribution.Facts{Dir: rc, Stated: root}, "billing", "wire"},
		// What the user chose comes first.
		{attribution.Facts{ProxyUser: "p", Dir: own, Stated: repo}, "p", "proxy_url"},
		{attribution.Facts{EnvProject: "e", Dir: own, Stated: repo}, "e", "env"},
		{attribution.Facts{Dir: own, Stated: repo}.WithoutFiles(), "misc", "smart_default"},
	} {
		if project, source := (attribution.Resolver{}).Resolve(tt.facts); project != tt.project || source != tt.source {
			t.Errorf("%+v: %s by %s, want %s by %s", tt.facts, project, source, tt.project, tt.source)
		}
	}
}

// What a hostile or mistaken request may say is not believed: then it is the
// process's directory that counts.
func TestStatedDirectoryIsChecked(t *testing.T) {
	root := realTempDir(t)
	own := filepath.Join(root, "own")
	mkdir(t, own)
	write(t, filepath.Join(root, "file"), "")
	if err := syscall.Mkfifo(filepath.Join(root, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(root, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for link, target := range map[string]string{
		"loop": "loop", "null": "/dev/null", "dangling": "gone", "root": "/", "self": "/proc/self/cwd",
	} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	mkdir(t, filepath.Join(root, "closed", "inner"))
	stated := []string{
		"own", "./own", "", "/", "//", "/..", "/dev/null", "/dev/fd/0", root + "/gone", root + "/file", root + "/file/x", root + "/fifo",
		root + "/socket", root + "/loop", root + "/loop/x", root + "/null", root + "/dangling", root + "/root",
		root + "/own\x00/x", root + "/" + strings.Repeat("n", 300), root + strings.Repeat("/.", 3000), "C:\\Users",
	}
	if _, err := os.Stat("/proc/self"); err == nil {
		// A process's own view: not files of this user's, though the kernel
		// says that it owns them.
		stated = append(stated, "/proc", "/proc/self", "/proc/self/cwd", "/proc/self/root", "/sys", "/sys/kernel", root+"/self")
	}
	for _, s := range stated {
		project, source := attribution.Resolver{}.Resolve(attribution.Facts{Dir: own, Stated: s})
		if project != "own" || source != attribution.SourceWorkDir {
			t.Errorf("stated %.60q: %s by %s", s, project, source)
		}
	}
}

// Another user's directory is not believed, whoever runs the test.
func TestStatedDirectoryOfAnotherUser(t *testing.T) {
	dir := realTempDir(t)
	other := "/usr/share" // root's
	if os.Geteuid() == 0 {
		other = filepath.Join(dir, "theirs")
		mkdir(t, other)
		if err := os.Chown(other, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	own := filepath.Join(dir, "own")
	mkdir(t, own)
	if project, source := (attribution.Resolver{}).Resolve(attribution.Facts{Dir: own, Stated: other}); project != "own" {
		t.Errorf("%s by %s", project, source)
	}
}

func FuzzStated(f *testing.F) {
	f.Add("/tmp/../proc/self/cwd")
	f.Add("//./usr/./share/..")
	f.Fuzz(func(t *testing.T, stated string) {
		project, _ := attribution.Resolver{}.Resolve(attribution.Facts{Stated: stated})
		if _, err := attribution.Slug(project); err != nil {
			t.Errorf("stated %q: %v", stated, err)
		}
	})
}
