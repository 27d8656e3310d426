package launchd

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// A Problem is something in a job that launchd refuses, ignores, or takes
// otherwise than its author can have meant.
type Problem struct {
	// Key is where it is, such as "KeepAlive.PathState".
	Key string
	// Reason is what launchd does about it.
	Reason string
	// Fix is what to write instead.
	Fix string
	// Refused means that launchd does not load the job at all.
	Refused bool
}

func (p Problem) Error() string { return p.Key + ": " + p.Reason + ": " + p.Fix }

// Validate returns what is wrong with the job wherever it is loaded, sorted by
// key. Keys that this package does not know are no problem, unless they are
// known ones in another case, and neither is a job that only a demand starts.
func (j *Job) Validate() []Problem {
	c := checker{job: j}
	c.identity()
	c.starts()
	c.limits()
	c.files()
	c.sockets()
	c.obsolete()
	c.walk(reflect.ValueOf(j), "")
	return c.sorted()
}

// ValidateFor is Validate and what is wrong for a job of that domain.
func (j *Job) ValidateFor(d DomainTarget) []Problem {
	c := checker{job: j, problems: j.Validate()}
	c.session(d)
	if d.kind != "system" {
		ignored := "launchd ignores it outside the system domain"
		c.when(j.UserName != "", "UserName", ignored, "remove it")
		c.when(j.GroupName != "", "GroupName", ignored, "remove it")
		c.when(j.InitGroups != nil, "InitGroups", ignored, "remove it")
	}
	return c.sorted()
}

// refusal is why launchd never loads the job into the domain, or nil.
func (j *Job) refusal(d DomainTarget) error {
	for _, p := range j.ValidateFor(d) {
		if p.Refused {
			return fmt.Errorf("%w: %w", ErrBadPlist, p)
		}
	}
	return nil
}

// invalid joins the problems into one error, or is nil.
func invalid(problems []Problem) error {
	var errs []error
	for _, p := range problems {
		errs = append(errs, p)
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrBadPlist, errors.Join(errs...))
}

// checker collects the problems of a job.
type checker struct {
	job      *Job
	problems []Problem
}

// when notes a problem if wrong.
func (c *checker) when(wrong bool, key, reason, fix string) {
	if wrong {
		c.problems = append(c.problems, Problem{Key: key, Reason: reason, Fix: fix})
	}
}

// refused notes a problem for which launchd takes nothing of the job.
func (c *checker) refused(wrong bool, key, reason, fix string) {
	if wrong {
		c.problems = append(c.problems, Problem{Key: key, Reason: reason, Fix: fix, Refused: true})
	}
}

func (c *checker) sorted() []Problem {
	slices.SortStableFunc(c.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Reason, b.Reason))
	})
	return c.problems
}

// within notes a number outside a range.
func (c *checker) within(n *int, lo, hi int, key string) {
	if n != nil {
		c.when(*n < lo || *n > hi, key, fmt.Sprintf("%d is out of range", *n), fmt.Sprintf("use %d to %d", lo, hi))
	}
}

// oneOf notes a word that launchd does not know.
func (c *checker) oneOf(word, key string, known ...string) {
	c.when(word != "" && !slices.Contains(known, word), key, fmt.Sprintf("launchd does not know %q", word), "use "+strings.Join(known, ", "))
}

// path notes a path that does not mean what it seems to mean.
func (c *checker) path(path, key string) {
	// launchctl print shows paths raw, so a line break in one forges fields.
	c.when(strings.ContainsAny(path, "\t\r\n"), key, fmt.Sprintf("%q has a tab or a line break", path), "use a path without")
	switch {
	case path == "":
	case path[0] == '~':
		c.when(true, key, fmt.Sprintf("launchd does not expand the tilde of %q", path), "write the home directory out")
	case path[0] != '/':
		c.when(true, key, fmt.Sprintf("launchd takes %q as relative to a directory of its own", path), "use an absolute path")
	}
}

// walk notes values of the wrong type, which the codec left in an Extra, and
// text that no XML can hold, anywhere in the job.
func (c *checker) walk(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			c.walk(v.Elem(), path)
		}
	case reflect.String:
		if err := checkText(v.String(), path); err != nil {
			reason := strings.TrimPrefix(err.Error(), path+": ")
			c.refused(true, path, reason, "take it out; a property list in XML cannot carry it")
		}
	case reflect.Slice:
		for i := range v.Len() {
			c.walk(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Map:
		for iter := v.MapRange(); iter.Next(); {
			at := join(path, iter.Key().String())
			c.walk(iter.Key(), at)
			c.walk(iter.Value(), at)
		}
	case reflect.Struct:
		// The fields of a sum type are no keys of the plist.
		_, sum := reflect.TypeAssert[interface{ toPlist() any }](v)
		for key, field := range fields(v) {
			if sum {
				c.walk(field, path)
				continue
			}
			c.walk(field, join(path, key))
		}
		c.extra(v, path)
	}
}

func (c *checker) extra(v reflect.Value, path string) {
	extra := v.FieldByName("Extra")
	if !extra.IsValid() {
		return
	}
	c.walk(extra, path)
	for key, field := range fields(v) {
		if left := extra.MapIndex(reflect.ValueOf(key)); left.IsValid() {
			c.mistyped(left.Interface(), field.Kind() == reflect.Map, join(path, key))
		}
		for _, other := range extra.MapKeys() {
			name := other.String()
			c.when(name != key && strings.EqualFold(name, key), join(path, name), "launchd is not known to read it in this case", "spell it "+key)
		}
	}
}

// mistyped notes what the codec could not take for a key; for a dictionary,
// these are the single values that do not fit.
func (c *checker) mistyped(left any, dict bool, path string) {
	if m, ok := left.(map[string]any); ok && dict {
		for key := range m {
			c.mistyped(m[key], false, join(path, key))
		}
		return
	}
	fix := "see launchd.plist(5) for its type"
	if strings.HasPrefix(path, "EnvironmentVariables.") {
		fix = "write it as a string"
	}
	c.when(true, path, fmt.Sprintf("launchd ignores a value of this type (%T)", left), fix)
}
