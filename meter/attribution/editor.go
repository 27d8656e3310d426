package attribution

import (
	"path/filepath"
	"strings"
)

// nowhere reports whether a program stands in the directory because it was
// not started in any on purpose.
func (r Resolver) nowhere(dir string) bool {
	return dir == "" || dir == "/" || r.Home != "" && filepath.Clean(dir) == filepath.Clean(r.Home)
}

// fromWorkspace names a project after the folder that an editor was told to
// open. Nothing tells to which of its windows a program belongs, and a shell
// in it may have gone elsewhere: so it counts for programs that stand in that
// folder, or nowhere.
func (r Resolver) fromWorkspace(workspace, dir string) string {
	if !filepath.IsAbs(workspace) || !within(dir, workspace) && !r.nowhere(dir) {
		return ""
	}
	if r.nowhere(dir) {
		// Then the workspace is the directory, and its own files decide.
		if name := FromRCFile(workspace); name != "" {
			return name
		}
		if name := FromGit(workspace); name != "" {
			return name
		}
	}
	return FromDir(workspace)
}

// fromLabel takes an editor's name for its workspace, where no directory has a
// say. A label is for people; it counts only if it is a slug as it is.
func (r Resolver) fromLabel(label, dir string) string {
	if slug, err := Slug(label); err != nil || slug != label || !r.nowhere(dir) {
		return ""
	}
	return label
}

// fromContainer names a project after the application in whose container, as
// macOS gives to sandboxed ones, the directory lies: "mac:com-openai-chat". A
// slug has no dots.
func (r Resolver) fromContainer(dir string) string {
	if r.Home == "" {
		return ""
	}
	rest, ok := strings.CutPrefix(filepath.Clean(dir), filepath.Join(r.Home, "Library", "Containers")+"/")
	if !ok {
		return ""
	}
	bundle, _, _ := strings.Cut(rest, "/")
	if name := slugify(bundle); name != "" {
		return "mac:" + name
	}
	return ""
}

// within reports whether dir is root or below it, going by the names.
func within(dir, root string) bool {
	if !filepath.IsAbs(dir) || !filepath.IsAbs(root) {
		return false
	}
	rel, err := filepath.Rel(root, dir)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
