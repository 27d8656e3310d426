package attribution

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// RC is the content of a .haltonrc:
//
//	# comment
//	project = "billing"
//	body_capture = on
type RC struct {
	// Project is a slug, "" if the file names none.
	Project string
	// BodyCapture is "on" or "off", "" if the file does not say.
	BodyCapture string
}

// ParseRC reads a .haltonrc. It is strict: an unknown key, a key given twice,
// a project that is no slug or a line of another form is an error that names
// the line, so that a typing error is found out rather than passed over.
func ParseRC(data []byte) (RC, error) {
	var rc RC
	if !utf8.Valid(data) {
		return RC{}, fmt.Errorf("parse .haltonrc: not UTF-8 text")
	}
	seen := make(map[string]bool)
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := rc.line(line, seen); err != nil {
			return RC{}, fmt.Errorf("parse .haltonrc: line %d: %w", n, err)
		}
	}
	return rc, nil
}

func (rc *RC) line(line string, seen map[string]bool) error {
	key, value, ok := strings.Cut(line, "=")
	if !ok {
		return fmt.Errorf("write it as key = value")
	}
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if seen[key] {
		return fmt.Errorf("%s is set twice", key)
	}
	seen[key] = true
	value, err := unquote(value)
	if err != nil {
		return err
	}
	switch key {
	case "project":
		rc.Project, err = Slug(value)
		return err
	case "body_capture":
		if value != "on" && value != "off" {
			return fmt.Errorf("body_capture is %q: use on or off", value)
		}
		rc.BodyCapture = value
		return nil
	}
	return fmt.Errorf("unknown key %q: use project or body_capture", key)
}

// unquote takes a value out of its quotes; a comment may follow it. No value
// that is allowed needs an escape or a space.
func unquote(value string) (string, error) {
	if rest, ok := strings.CutPrefix(value, `"`); ok {
		quoted, after, ok := strings.Cut(rest, `"`)
		if after = strings.TrimSpace(after); !ok || after != "" && after[0] != '#' {
			return "", fmt.Errorf("the value's closing quote is missing or not at its end")
		}
		return quoted, nil
	}
	bare, _, _ := strings.Cut(value, "#")
	return strings.TrimSpace(bare), nil
}
