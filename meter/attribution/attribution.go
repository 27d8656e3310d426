// Package attribution decides which project an exchange belongs to.
//
// The layers of the chain are asked in a fixed order, and the first that names
// a well-formed project wins. A name that is no slug counts as none, so that a
// typing error in one place leaves the decision to the next:
//
//	proxy_url      the user part of the proxy URL, set by "run --project"
//	env            HALTON_PROJECT of the client's process
//	rcfile         a .haltonrc in the client's directory or above it
//	git            the name of the git repository that holds the directory
//	workdir        the name of the directory
//	smart_default  the configured default, or "misc"
//
// The smallest use:
//
//	r := attribution.Resolver{Default: "misc"}
//	project, source := r.Resolve(attribution.Facts{ProxyUser: "billing"})
//
// The package holds no state. Equal facts over equal files give equal answers;
// facts without a directory touch no file. It does not find the facts: who the
// client is, and where it runs, is for the caller to say.
package attribution

// DefaultProject is the project of a Resolver without a Default.
const DefaultProject = "misc"

// The sources of a project, as they are stored beside it.
const (
	SourceProxyURL = "proxy_url"
	SourceEnv      = "env"
	SourceRCFile   = "rcfile"
	SourceGit      = "git"
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
	// Dir is the absolute path of the directory in which the client works.
	Dir string
}

// Resolver finds the project of an exchange. Its zero value is ready to use
// and safe for concurrent use.
type Resolver struct {
	// Default is the project of an exchange that nothing else names. Empty
	// or malformed means DefaultProject.
	Default string
}

// A layer names the project by one kind of evidence, "" if there is none. What
// it returns need not be a slug.
type layer struct {
	source string
	find   func(Facts) string
}

// chain is the order in which the layers are asked.
func (r Resolver) chain() []layer {
	return []layer{
		{SourceProxyURL, func(f Facts) string { return f.ProxyUser }},
		{SourceEnv, func(f Facts) string { return f.EnvProject }},
		{SourceRCFile, func(f Facts) string { return FromRCFile(f.Dir) }},
		{SourceGit, func(f Facts) string { return FromGit(f.Dir) }},
		{SourceWorkDir, func(f Facts) string { return FromDir(f.Dir) }},
		{SourceDefault, func(Facts) string { return r.Default }},
	}
}

// Resolve returns the project's slug and the name of the layer that gave it.
func (r Resolver) Resolve(f Facts) (project, source string) {
	for _, l := range r.chain() {
		if slug, err := Slug(l.find(f)); err == nil {
			return slug, l.source
		}
	}
	return DefaultProject, SourceDefault
}
