// Package house holds no code: its tests are the rules of the house, so that
// a change which breaks one learns it from "go test" and not from a review.
package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/haltonlabs/halton-meter"

// root is the top of the module, seen from this folder.
const root = "../.."

// pkg is a package as "go list" describes it.
type pkg struct {
	ImportPath string
	Name       string
	Standard   bool
	Imports    []string
	Deps       []string
	Module     *struct{ Path string }
}

// rel is the package's folder below the root, "." for the root itself.
func (p pkg) rel() string { return relative(p.ImportPath) }

func relative(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// list returns the module's own packages, and the module of every package
// that they depend on ("" for the standard library).
func list(t *testing.T, goos string) (own []pkg, moduleOf map[string]string) {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Name,Standard,Imports,Deps,Module", "./...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=arm64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	moduleOf = map[string]string{}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case p.Standard:
		case p.Module == nil:
			t.Errorf("%s belongs to no module", p.ImportPath)
		case p.Module.Path == module:
			own = append(own, p)
			moduleOf[p.ImportPath] = module
		default:
			moduleOf[p.ImportPath] = p.Module.Path
		}
	}
	if len(own) == 0 {
		t.Fatal("go list found no package of the module")
	}
	return own, moduleOf
}

// within reports whether the folder rel is one of roots or below one.
func within(rel string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool {
		return rel == r || strings.HasPrefix(rel, r+"/")
	})
}

// source is a folder's Go files, for whatever system they are.
type source struct {
	rel   string
	files map[string]*ast.File // by base name
	lines map[string]int
}

func (s source) isTest(name string) bool { return strings.HasSuffix(name, "_test.go") }

// sources parses all Go files of the module.
func sources(t *testing.T) []source {
	t.Helper()
	byDir := map[string]source{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			// As the go command does: these hold no packages of the module.
			if file != root && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(fset, file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		s, ok := byDir[rel]
		if !ok {
			s = source{rel: rel, files: map[string]*ast.File{}, lines: map[string]int{}}
			byDir[rel] = s
		}
		s.files[name] = parsed
		s.lines[name] = fset.File(parsed.Pos()).LineCount()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []source
	for _, s := range byDir {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b source) int { return strings.Compare(a.rel, b.rel) })
	return all
}

func TestTopLevel(t *testing.T) {
	allowed := strings.Fields("launchd proxyedge meter portalloc examples cmd internal" +
		" go.mod go.sum doc.go CHANGELOG.md README.md LICENSE")
	for _, name := range topLevel(t) {
		if !strings.HasPrefix(name, ".") && !slices.Contains(allowed, name) {
			t.Errorf("%s: the top level is fixed; put it below one of %v", name, allowed)
		}
	}
}

// topLevel is what git tracks, or what is there if this is no checkout.
func topLevel(t *testing.T) []string {
	t.Helper()
	var names []string
	cmd := exec.Command("git", "ls-files", "--full-name")
	cmd.Dir = root
	if out, err := cmd.Output(); err == nil && len(out) > 0 {
		for line := range strings.Lines(string(out)) {
			name, _, _ := strings.Cut(strings.TrimSpace(line), "/")
			names = append(names, name)
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestOnePackageComment(t *testing.T) {
	for _, s := range sources(t) {
		var with []string
		code := false
		for name, f := range s.files {
			if s.isTest(name) {
				continue
			}
			code = true
			if f.Doc != nil && strings.TrimSpace(f.Doc.Text()) != "" {
				with = append(with, name)
			}
		}
		slices.Sort(with)
		if code && len(with) != 1 {
			t.Errorf("%s: %d package comments %v, want one", s.rel, len(with), with)
		}
	}
}

// A file has one subject. Which file is too long is a matter of taste up to
// here and not beyond.
func TestFileLength(t *testing.T) {
	const limit = 500
	for _, s := range sources(t) {
		for name, lines := range s.lines {
			if !s.isTest(name) && lines > limit {
				t.Errorf("%s: %d lines, at most %d: it probably has two subjects", path.Join(s.rel, name), lines, limit)
			}
		}
	}
}

// withoutExample are exported types that need none, with the reason.
var withoutExample = map[string]string{}

// TestExamples: a reader finds every exported type of the importable packages
// in a program that compiles.
func TestExamples(t *testing.T) {
	excused := map[string]bool{}
	for _, s := range sources(t) {
		if within(s.rel, "cmd", "internal", "examples") {
			continue
		}
		shown := shownInExamples(s)
		for _, name := range exportedTypes(s) {
			full := s.rel + "." + name
			switch {
			case withoutExample[full] != "":
				excused[full] = true
			case !shown[name]:
				t.Errorf("%s has no Example: no Example function in its package uses it", full)
			}
		}
	}
	for full := range withoutExample {
		if !excused[full] {
			t.Errorf("withoutExample names %s, which does not exist", full)
		}
	}
}

func exportedTypes(s source) []string {
	var names []string
	for file, f := range s.files {
		if s.isTest(file) || f.Name.Name == "main" {
			continue
		}
		for _, decl := range f.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, spec := range gen.Specs {
				if name := spec.(*ast.TypeSpec).Name; name.IsExported() {
					names = append(names, name.Name)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names) // a type may have a file for each system
}

// shownInExamples are the names that the package's Example functions use, or
// are named after.
func shownInExamples(s source) map[string]bool {
	shown := map[string]bool{}
	for file, f := range s.files {
		if !s.isTest(file) {
			continue
		}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Example") {
				continue
			}
			subject, _, _ := strings.Cut(strings.TrimPrefix(fn.Name.Name, "Example"), "_")
			shown[subject] = true
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					shown[id.Name] = true
				}
				return true
			})
		}
	}
	return shown
}

func describe(p pkg, dep string) string { return fmt.Sprintf("%s depends on %s", p.rel(), dep) }
