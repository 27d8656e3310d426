package peer

import (
	"net/url"
	"path/filepath"
	"strings"
)

// maxAncestors bounds how far up a process's family is asked for an editor: a
// tool in a terminal has a shell, a terminal's host and the editor above it.
const maxAncestors = 6

// labelVariables are what editors call their workspace in the environment of
// the programs that they start.
var labelVariables = []string{"CURSOR_WORKSPACE_LABEL", "VSCODE_WORKSPACE_LABEL"}

func label(environ []byte) string {
	for _, name := range labelVariables {
		if value := lookup(environ, name); value != "" {
			return value
		}
	}
	return ""
}

// workspace is the folder that VS Code, or an editor made from it, was told to
// open: the value of --folder-uri, which is documented at
// https://code.visualstudio.com/docs/configure/command-line. There is none if
// it was told several, or one on another machine.
func workspace(args []string) string {
	var folder string
	for i, arg := range args {
		value, ok := strings.CutPrefix(arg, "--folder-uri")
		switch {
		case !ok:
			continue
		case strings.HasPrefix(value, "="):
			value = value[1:]
		case value == "" && i+1 < len(args):
			value = args[i+1]
		default:
			continue
		}
		u, err := url.Parse(value)
		if err != nil || u.Scheme != "file" || u.Host != "" || !filepath.IsAbs(u.Path) {
			return ""
		}
		if path := filepath.Clean(u.Path); folder == "" || folder == path {
			folder = path
			continue
		}
		return ""
	}
	return folder
}
