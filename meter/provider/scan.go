package provider

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
)

// The scanner below finds members of JSON objects without decoding the rest.
// Bodies reach megabytes of which a hundred bytes matter, and they may be cut
// anywhere; so it is lenient, calls back with whatever came before the cut,
// and needs neither recursion nor memory. What it hands out is checked by
// whoever keeps it.

// maxText bounds the names kept of an exchange: models, ids, tiers, codes.
const maxText = 256

// fields calls f with each member of the JSON object that data begins with.
// It reports whether the object was whole.
func fields(data []byte, f func(key, value []byte)) (whole bool) {
	i := skipSpace(data, 0)
	if i == len(data) || data[i] != '{' {
		return false
	}
	for i++; ; {
		i = skipSpace(data, i)
		if i == len(data) {
			return false
		}
		switch data[i] {
		case '}':
			return true
		case ',':
			i++
			continue
		case '"':
		default:
			return false
		}
		end := skipString(data, i)
		if end < 0 {
			return false
		}
		key := data[i:end]
		i = skipSpace(data, end)
		if i == len(data) || data[i] != ':' {
			return false
		}
		i = skipSpace(data, i+1)
		end = skipValue(data, i)
		if end < 0 {
			return false
		}
		f(unquoteKey(key), data[i:end])
		i = end
	}
}

// elements calls f with each element of the JSON array that data begins with.
func elements(data []byte, f func(value []byte)) {
	i := skipSpace(data, 0)
	if i == len(data) || data[i] != '[' {
		return
	}
	for i++; ; {
		i = skipSpace(data, i)
		if i == len(data) || data[i] == ']' {
			return
		}
		if data[i] == ',' {
			i++
			continue
		}
		end := skipValue(data, i)
		if end < 0 {
			return
		}
		f(data[i:end])
		i = end
	}
}

// skipValue returns the index after the value at i, or -1 if it is cut short
// or not a value.
func skipValue(data []byte, i int) int {
	if i == len(data) {
		return -1
	}
	switch data[i] {
	case '"':
		return skipString(data, i)
	case '{', '[':
		return skipNested(data, i)
	}
	end := i
scalar:
	for ; end < len(data); end++ {
		switch data[end] {
		case ',', ':', ']', '}', '[', '{', '"', ' ', '\t', '\r', '\n':
			break scalar
		}
	}
	// A number that ends where the data does may lack digits.
	if end == i || end == len(data) {
		return -1
	}
	return end
}

// skipNested returns the index after the object or array at i, or -1.
func skipNested(data []byte, i int) int {
	depth := 0
	for i < len(data) {
		switch data[i] {
		case '"':
			if i = skipString(data, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}

// skipString returns the index after the string at i, or -1.
func skipString(data []byte, i int) int {
	for i++; ; i++ {
		j := bytes.IndexByte(data[i:], '"')
		if j < 0 {
			return -1
		}
		backslashes := 0
		for k := i + j - 1; k >= i && data[k] == '\\'; k-- {
			backslashes++
		}
		i += j
		if backslashes%2 == 0 {
			return i + 1
		}
	}
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// unquoteKey returns the text of a quoted key, nil if it has none.
func unquoteKey(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	if len(quoted) > maxText || json.Unmarshal(quoted, &s) != nil {
		return nil
	}
	return []byte(s)
}

// text returns the string that value is, or "" if it is none that is fit to
// be shown.
func text(value []byte) string {
	if len(value) < 2 || len(value) > maxText || value[0] != '"' {
		return ""
	}
	var s string
	if json.Unmarshal(value, &s) != nil || !printable(s) {
		return ""
	}
	return s
}

// printable reports whether s is fit to be shown: neither too long nor with
// control characters that a terminal would obey.
func printable(s string) bool {
	return len(s) <= maxText && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// isNull reports whether the value is null.
func isNull(value []byte) bool { return string(value) == "null" }

// isTrue reports whether the value is true.
func isTrue(value []byte) bool { return string(value) == "true" }

// member returns one member of the object, nil if it has none. The last of
// several wins, as in most decoders.
func member(object []byte, name string) (found []byte) {
	fields(object, func(key, value []byte) {
		if string(key) == name {
			found = value
		}
	})
	return found
}
