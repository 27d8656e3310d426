package attribution_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/attribution"
)

// TestFromGit lays repositories out as gitrepository-layout(5) and
// gitsubmodules(7) describe them.
func TestFromGit(t *testing.T) {
	root := t.TempDir()
	head := "ref: refs/heads/main\n"

	write(t, filepath.Join(root, "Main Repo", ".git", "HEAD"), head)
	mkdir(t, filepath.Join(root, "Main Repo", "src", "deep"))

	worktree := filepath.Join(root, "Main Repo", ".git", "worktrees", "fix")
	write(t, filepath.Join(worktree, "HEAD"), head)
	write(t, filepath.Join(worktree, "commondir"), "../..\n")
	write(t, filepath.Join(root, "elsewhere", "fix", ".git"), "gitdir: "+worktree+"\n")
	mkdir(t, filepath.Join(root, "elsewhere", "fix", "src"))

	bare := filepath.Join(root, "Bare.git", "worktrees", "w")
	write(t, filepath.Join(bare, "HEAD"), head)
	write(t, filepath.Join(bare, "commondir"), "../..\r\n")
	write(t, filepath.Join(root, "w", ".git"), "gitdir: ../Bare.git/worktrees/w")

	write(t, filepath.Join(root, "Main Repo", ".git", "modules", "lib", "HEAD"), head)
	write(t, filepath.Join(root, "Main Repo", "vendor", "lib", ".git"), "gitdir: ../../.git/modules/lib\n")

	mkdir(t, filepath.Join(root, "Main Repo", "stray", ".git"))
	write(t, filepath.Join(root, "Main Repo", "dangling", ".git"), "gitdir: /nowhere/at/all\n")
	write(t, filepath.Join(root, "Main Repo", "junk", ".git"), "\x00\x01")
	mkdir(t, filepath.Join(root, "none"))

	for dir, want := range map[string]string{
		"Main Repo":            "main-repo",
		"Main Repo/src/deep":   "main-repo",
		"elsewhere/fix":        "main-repo",
		"elsewhere/fix/src":    "main-repo",
		"w":                    "bare",
		"Main Repo/vendor/lib": "lib",
		"Main Repo/stray":      "main-repo",
		"Main Repo/dangling":   "main-repo",
		"Main Repo/junk":       "main-repo",
		"none":                 "",
		"elsewhere":            "",
	} {
		if got := attribution.FromGit(filepath.Join(root, dir)); got != want {
			t.Errorf("in %q: %q, want %q", dir, got, want)
		}
	}
}

// TestFromGitByGit asks git itself for the layout, where it is installed; the
// layouts above do not depend on it.
func TestFromGitByGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Log("git is not installed; TestFromGit covers its layouts")
		return
	}
	root := t.TempDir()
	repo := filepath.Join(root, "project")
	for _, args := range [][]string{
		{"init", "-q", repo},
		{"-C", repo, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "--allow-empty", "-m", "first"},
		{"-C", repo, "worktree", "add", "-q", filepath.Join(root, "branch")},
	} {
		cmd := exec.CommandContext(t.Context(), git, args...)
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + root}, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	for _, dir := range []string{repo, filepath.Join(root, "branch")} {
		if got := attribution.FromGit(dir); got != "project" {
			t.Errorf("in %q: %q, want project", dir, got)
		}
	}
}
