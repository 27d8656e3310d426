// Package attribution decides which project an exchange belongs to.
//
// The layers of the chain are asked in a fixed order, and the first that names
// a well-formed project wins. A name that is no slug counts as none, so that a
// typing error in one place leaves the decision to the next:
//
//	proxy_url         the user part of the proxy URL, set by "run --project"
//	env               HALTON_PROJECT of the client's process
//	rcfile            a .haltonrc in the client's directory or above it
//	parent_ide_sniff  the folder that the client's editor was told to open
//	git               the name of the git repository that holds the directory
//	ide_env_label     the editor's name for its workspace
//	mac_sandbox       the macOS application in whose container it works
//	workdir           the name of the directory
//	smart_default     the configured default, or "misc"
//
// There is one directory: the one that the client states on the wire, if it is
// one of this user's, else that of the client's process. A project that comes
// from a stated directory has the source "wire", whichever layer found it.
//
// The smallest use:
//
//	r := attribution.Resolver{Default: "misc"}
//	project, source := r.Resolve(attribution.Facts{ProxyUser: "billing"})
//
// The package holds no state. Equal facts over equal files give equal answers;
// facts without a directory touch no file. It does not find the facts: who the
// client is, and where it runs, is for the caller to say. Files are read as
// they come: on a network mount that hangs, so does Resolve.
//
// # Editors
//
// A program in an editor's terminal works in a directory, and needs no more.
// One that runs in the editor itself, as an extension does, stands in "/", in
// the home directory or where the editor was started. For those the folder on
// the editor's command line counts, or its label. What it does not tell: the
// folder of a window that was opened later from within the editor, and any
// folder of a JetBrains IDE, whose windows share one process.
package attribution

// DefaultProject is the project of a Resolver without a Default.
const DefaultProject = "misc"

// The sources of a project, as they are stored beside it.
const (
	SourceProxyURL = "proxy_url"
	SourceEnv      = "env"
	SourceWire     = "wire"
	SourceRCFile   = "rcfile"
	SourceIDE      = "parent_ide_sniff"
	SourceGit      = "git"
	SourceIDELabel = "ide_env_label"
	SourceSandbox  = "mac_sandbox"
	SourceWorkDir  = "workdir"
	SourceDefault  = "smart_default"
)

// Facts is what is known of an exchange's client. The zero value of a field
// means that it is not known.
type Facts struct {
	// ProxyUser is the user part of the proxy URL, decoded.
	ProxyUser string
	// EnvProject is HALTON_PROJECT of the client's process.
	EnvProject string
	// Stated is the directory that the client names in its request. It is
	// not trusted: see [Resolver.Resolve].
	Stated string
	// Dir is the absolute path of the directory in which the client works.
	Dir string
	// Workspace is the folder that the client's editor was told to open, and
	// Label the editor's own name for it.
	Workspace, Label string
}

// WithoutFiles is what can be decided on without looking at any file.
func (f Facts) WithoutFiles() Facts {
	return Facts{ProxyUser: f.ProxyUser, EnvProject: f.EnvProject}
}

// Resolver finds the project of an exchange. Its zero value is ready to use
// and safe for concurrent use.
type Resolver struct {
	// Default is the project of an exchange that nothing else names. Empty
	// or malformed means DefaultProject.
	Default string
	// Home is the user's home directory, where programs stand that were not
	// started in any directory on purpose. Empty is not known.
	Home string
}

// A layer names the project by one kind of evidence, "" if there is none. What
// it returns need not be a slug.
type layer struct {
	source string
	find   func() string
}

// Resolve returns the project's slug and the name of the layer that gave it.
//
// A stated directory counts only if it exists, belongs to the user of this
// process and lies on an ordinary file system: a request can say anything, and
// must not make us mount something or wake a device. Where the client's own
// directory lies in the stated one, it is the more exact of the two, and is
// used.
func (r Resolver) Resolve(f Facts) (project, source string) {
	// These need no files.
	for _, l := range []layer{
		{SourceProxyURL, func() string { return f.ProxyUser }},
		{SourceEnv, func() string { return f.EnvProject }},
	} {
		if slug, err := Slug(l.find()); err == nil {
			return slug, l.source
		}
	}
	dir := f.Dir
	stated, ok := checkStated(f.Stated)
	if ok && !within(dir, stated) {
		dir = stated
	}
	for _, l := range []layer{
		{SourceRCFile, func() string { return FromRCFile(dir) }},
		{SourceIDE, func() string { return r.fromWorkspace(f.Workspace, dir) }},
		{SourceGit, func() string { return FromGit(dir) }},
		{SourceIDELabel, func() string { return r.fromLabel(f.Label, dir) }},
		{SourceSandbox, func() string { return r.fromContainer(dir) }},
		{SourceWorkDir, func() string { return FromDir(dir) }},
	} {
		if slug, err := Slug(l.find()); err == nil {
			if ok {
				return slug, SourceWire
			}
			return slug, l.source
		}
	}
	if slug, err := Slug(r.Default); err == nil {
		return slug, SourceDefault
	}
	return DefaultProject, SourceDefault
}
