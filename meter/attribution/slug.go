package attribution

import (
	"fmt"
	"strings"
)

// MaxSlug is the length of the longest slug.
const MaxSlug = 100

// SlugError says why a project's name is not a slug.
type SlugError struct {
	// Name is the name as it was given.
	Name string
	// Problem is what is wrong with it.
	Problem string
}

func (e *SlugError) Error() string {
	name := e.Name
	if len(name) > MaxSlug {
		name = name[:MaxSlug] + "…"
	}
	return fmt.Sprintf("project %q %s: use 1 to %d ASCII letters, digits, and - _ : /, with / only between other characters", name, e.Problem, MaxSlug)
}

// Slug returns the name in lower case if it is a project's slug: ASCII
// letters, digits, "-", "_", ":" and "/", where slashes neither begin nor end
// it nor follow one another. Otherwise the error is a *SlugError.
func Slug(name string) (string, error) {
	fail := func(problem string) (string, error) {
		return "", &SlugError{Name: name, Problem: problem}
	}
	switch {
	case name == "":
		return fail("is empty")
	case len(name) > MaxSlug:
		return fail("is too long")
	case name[0] == '/' || name[len(name)-1] == '/':
		return fail("begins or ends with a slash")
	case strings.Contains(name, "//"):
		return fail("has an empty part between slashes")
	}
	for _, c := range name {
		if !inSlug(c) {
			return fail(fmt.Sprintf("has the character %q", c))
		}
	}
	// Only ASCII is left, of which ToLower changes nothing but A to Z.
	return strings.ToLower(name), nil
}

func inSlug(c rune) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '-' || c == '_' || c == ':' || c == '/'
}

// slugify makes a slug of a directory's name, which nobody chose to be one:
// each run of other characters becomes a hyphen. It returns "" if nothing is
// left.
func slugify(name string) string {
	var b strings.Builder
	gap := false
	for _, c := range name {
		if !inSlug(c) || c == '/' {
			gap = true
			continue
		}
		if gap && b.Len() > 0 {
			b.WriteByte('-')
		}
		gap = false
		b.WriteRune(c)
	}
	slug := strings.ToLower(b.String())
	return slug[:min(len(slug), MaxSlug)]
}
