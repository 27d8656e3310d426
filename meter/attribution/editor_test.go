package attribution_test

import (
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/attribution"
)

func TestEditorWorkspace(t *testing.T) {
	home := realTempDir(t)
	mono := filepath.Join(home, "mono")
	web := filepath.Join(mono, "web")
	write(t, filepath.Join(mono, ".git", "HEAD"), "ref: refs/heads/main\n")
	mkdir(t, filepath.Join(web, "src"))
	plain := filepath.Join(home, "plain")
	mkdir(t, plain)
	billed := filepath.Join(home, "billed")
	write(t, filepath.Join(billed, ".haltonrc"), "project = billing\n")
	r := attribution.Resolver{Home: home}

	for name, tt := range map[string]struct {
		facts           attribution.Facts
		project, source string
	}{
		"a terminal in the workspace":      {attribution.Facts{Dir: filepath.Join(web, "src"), Workspace: web}, "web", "parent_ide_sniff"},
		"a terminal that went elsewhere":   {attribution.Facts{Dir: plain, Workspace: web}, "plain", "workdir"},
		"a terminal in another repository": {attribution.Facts{Dir: mono, Workspace: plain, Label: "x"}, "mono", "git"},
		"an extension, started at home":    {attribution.Facts{Dir: home + "/", Workspace: plain}, "plain", "parent_ide_sniff"},
		"an extension, started by the GUI": {attribution.Facts{Dir: "/", Workspace: web}, "mono", "parent_ide_sniff"},
		"an extension, with a file":        {attribution.Facts{Dir: "/", Workspace: billed}, "billing", "parent_ide_sniff"},
		"an unknown directory":             {attribution.Facts{Workspace: plain}, "plain", "parent_ide_sniff"},
		"a relative workspace":             {attribution.Facts{Dir: "/", Workspace: "plain"}, "misc", "smart_default"},
		"a label":                          {attribution.Facts{Dir: "/", Label: "shop"}, "shop", "ide_env_label"},
		"a label for people":               {attribution.Facts{Dir: "/", Label: "My Shop"}, "misc", "smart_default"},
		"a label in capitals":              {attribution.Facts{Dir: "/", Label: "Shop"}, "misc", "smart_default"},
		"a label in a directory":           {attribution.Facts{Dir: plain, Label: "shop"}, "plain", "workdir"},
		"a sandbox":                        {attribution.Facts{Dir: home + "/Library/Containers/com.openai.chat/Data"}, "mac:com-openai-chat", "mac_sandbox"},
		"beside a sandbox":                 {attribution.Facts{Dir: home + "/Library/Containers"}, "containers", "workdir"},
	} {
		if project, source := r.Resolve(tt.facts); project != tt.project || source != tt.source {
			t.Errorf("%s: %s by %s, want %s by %s", name, project, source, tt.project, tt.source)
		}
	}
}
