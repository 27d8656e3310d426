package launchd

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"time"
	"unicode/utf8"

	"howett.net/plist"
)

// ParseJob reads a job from a property list in XML or binary form. It checks
// the form, not the sense: see [Job.Validate]. It accepts at most 1 MiB and
// 64 levels of nesting, and refuses a binary list that would grow beyond a few
// MiB when its shared objects are written out.
func ParseJob(data []byte) (*Job, error) {
	dict, err := decodeDict(data)
	if err != nil {
		return nil, fmt.Errorf("parse job: %w", err)
	}
	job := new(Job)
	decodeStruct(reflect.ValueOf(job).Elem(), dict)
	return job, nil
}

// Encode writes the job as an XML property list with sorted keys, so that
// equal jobs give equal bytes. It fails on text that XML cannot hold, such as
// control characters, rather than change it.
func (j *Job) Encode() ([]byte, error) {
	v, err := encode(reflect.ValueOf(j), "", 0)
	if err != nil {
		return nil, fmt.Errorf("encode job %q: %w", j.Label, err)
	}
	data, err := plist.MarshalIndent(v, plist.XMLFormat, "\t")
	if err != nil {
		return nil, fmt.Errorf("encode job %q: %w", j.Label, err)
	}
	data = append(data, '\n')
	if len(data) > maxPlistBytes {
		return nil, fmt.Errorf("encode job %q: %w", j.Label, errTooBig)
	}
	return data, nil
}

// sumType is a value with more than one form in a plist. toPlist gives the
// present form to encode in its stead, or nil if the value is absent.
type sumType interface {
	fromPlist(v any) bool
	toPlist() any
}

var (
	timeType = reflect.TypeFor[time.Time]()
	uidType  = reflect.TypeFor[plist.UID]()
)

// blanks remembers the string keys that are present and empty. A Go string
// cannot tell that from absent, and a pointer for each would spoil the struct
// for a case that no sensible plist has.
type blanks struct{ keys []string }

func (b *blanks) setBlanks(keys []string) { b.keys = keys }
func (b *blanks) isBlank(key string) bool { return slices.Contains(b.keys, key) }

type blanker interface {
	setBlanks(keys []string)
	isBlank(key string) bool
}

// decode sets dst, a settable zero value, from v. If a part of v has the
// wrong type it returns that part as rest; ok is false if all of it has.
func decode(dst reflect.Value, v any) (rest any, ok bool) {
	if s, is := reflect.TypeAssert[sumType](dst.Addr()); is {
		return nil, s.fromPlist(v)
	}
	switch dst.Kind() {
	case reflect.Pointer:
		elem := reflect.New(dst.Type().Elem())
		rest, ok = decode(elem.Elem(), v)
		if ok {
			dst.Set(elem)
		}
		return rest, ok
	case reflect.Interface:
		dst.Set(reflect.ValueOf(v))
		return nil, true
	case reflect.Bool:
		b, ok := v.(bool)
		dst.SetBool(b)
		return nil, ok
	case reflect.Int:
		n, ok := toInt(v)
		dst.SetInt(int64(n))
		return nil, ok
	case reflect.String:
		s, ok := v.(string)
		dst.SetString(s)
		return nil, ok
	case reflect.Slice:
		return nil, decodeSlice(dst, v)
	case reflect.Map:
		return decodeMap(dst, v)
	case reflect.Struct:
		dict, ok := v.(map[string]any)
		if ok {
			decodeStruct(dst, dict)
		}
		return nil, ok
	}
	panic("launchd: no plist form for " + dst.Type().String())
}

func toInt(v any) (int, bool) {
	switch n := v.(type) {
	case int64:
		return int(n), int64(int(n)) == n
	case uint64:
		return int(n), n <= math.MaxInt // the second value says whether it fits
	}
	return 0, false
}

// decodeSlice takes all elements or none: what stays behind could not be put
// back in its place.
func decodeSlice(dst reflect.Value, v any) bool {
	list, ok := v.([]any)
	if !ok {
		return false
	}
	out := reflect.MakeSlice(dst.Type(), len(list), len(list))
	for i, elem := range list {
		if rest, ok := decode(out.Index(i), elem); !ok || rest != nil {
			return false
		}
	}
	dst.Set(out)
	return true
}

// decodeMap takes what fits and returns the other values as rest, as launchd
// ignores a single environment variable that is not a string.
func decodeMap(dst reflect.Value, v any) (rest any, ok bool) {
	dict, ok := v.(map[string]any)
	if !ok {
		return nil, false
	}
	out := reflect.MakeMapWithSize(dst.Type(), len(dict))
	left := map[string]any{}
	for k, v := range dict {
		elem := reflect.New(dst.Type().Elem()).Elem()
		rest, ok := decode(elem, v)
		if ok {
			out.SetMapIndex(reflect.ValueOf(k), elem)
		} else {
			rest = v
		}
		if rest != nil {
			left[k] = rest
		}
	}
	dst.Set(out)
	if len(left) == 0 {
		return nil, true
	}
	return left, true
}

func decodeStruct(dst reflect.Value, dict map[string]any) {
	extra := maps.Clone(dict)
	if extra == nil {
		extra = map[string]any{}
	}
	var blank []string
	for key, field := range fields(dst) {
		v, present := dict[key]
		if !present {
			continue
		}
		delete(extra, key)
		rest, ok := decode(field, v)
		if !ok {
			field.SetZero()
			rest = v
		}
		if rest != nil {
			extra[key] = rest
		}
		if v == "" && ok && field.Kind() == reflect.String {
			blank = append(blank, key)
		}
	}
	if len(extra) > 0 {
		dst.FieldByName("Extra").Set(reflect.ValueOf(extra))
	}
	if b, ok := reflect.TypeAssert[blanker](dst.Addr()); ok {
		slices.Sort(blank)
		b.setBlanks(blank)
	}
}

// fields yields the typed keys of a struct: all its exported fields but Extra.
func fields(v reflect.Value) func(yield func(key string, field reflect.Value) bool) {
	return func(yield func(string, reflect.Value) bool) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() || f.Name == "Extra" {
				continue
			}
			key := f.Name
			if tag := f.Tag.Get("plist"); tag != "" {
				key = tag
			}
			if !yield(key, v.Field(i)) {
				return
			}
		}
	}
}

// encode turns a value into maps, slices and scalars that the plist package
// writes as they are. It returns nil for a value that is absent.
func encode(v reflect.Value, path string, depth int) (any, error) {
	switch {
	case depth > maxPlistDepth:
		return nil, fmt.Errorf("%s: %w", path, errTooDeep)
	case !v.IsValid():
		return nil, nil
	case v.Type() == uidType:
		return v.Interface(), nil
	case v.Type() == timeType:
		// RFC 3339 has four digits for the year; a binary list has no limit.
		if year := v.Interface().(time.Time).UTC().Year(); year < 0 || year > 9999 {
			return nil, fmt.Errorf("%s: year %d is not in 0 to 9999", path, year)
		}
		return v.Interface(), nil
	}
	if s, ok := reflect.TypeAssert[interface{ toPlist() any }](v); ok && v.Kind() == reflect.Struct {
		return encode(reflect.ValueOf(s.toPlist()), path, depth)
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil, nil
		}
		return encode(v.Elem(), path, depth)
	case reflect.String:
		return v.String(), checkText(v.String(), path)
	case reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return v.Interface(), nil
	case reflect.Slice:
		return encodeSlice(v, path, depth)
	case reflect.Map:
		return encodeMap(v, path, depth)
	case reflect.Struct:
		return encodeStruct(v, path, depth)
	}
	return nil, fmt.Errorf("%s: a %s has no form in a property list", path, v.Type())
}

func encodeSlice(v reflect.Value, path string, depth int) (any, error) {
	if v.IsNil() {
		return nil, nil
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return v.Bytes(), nil
	}
	out := make([]any, v.Len())
	for i := range out {
		at := fmt.Sprintf("%s[%d]", path, i)
		elem, err := encode(v.Index(i), at, depth+1)
		if err != nil {
			return nil, err
		}
		if elem == nil {
			return nil, fmt.Errorf("%s: no value", at)
		}
		out[i] = elem
	}
	return out, nil
}

func encodeMap(v reflect.Value, path string, depth int) (any, error) {
	if v.IsNil() {
		return nil, nil
	}
	if v.Type().Key().Kind() != reflect.String {
		return nil, fmt.Errorf("%s: a %s has no form in a property list", path, v.Type())
	}
	out := make(map[string]any, v.Len())
	for iter := v.MapRange(); iter.Next(); {
		key := iter.Key().String()
		at := join(path, key)
		if err := checkText(key, at); err != nil {
			return nil, err
		}
		elem, err := encode(iter.Value(), at, depth+1)
		if err != nil {
			return nil, err
		}
		if elem == nil {
			return nil, fmt.Errorf("%s: no value", at)
		}
		out[key] = elem
	}
	return out, nil
}

func encodeStruct(v reflect.Value, path string, depth int) (any, error) {
	extra := v.FieldByName("Extra")
	if !extra.IsValid() {
		return nil, fmt.Errorf("%s: a %s has no form in a property list", path, v.Type())
	}
	out := map[string]any{}
	if !extra.IsNil() {
		all, err := encodeMap(extra, path, depth)
		if err != nil {
			return nil, err
		}
		out = all.(map[string]any)
	}
	isBlank := func(string) bool { return false }
	if b, ok := reflect.TypeAssert[blanker](addressable(v)); ok {
		isBlank = b.isBlank
	}
	for key, field := range fields(v) {
		if field.Kind() == reflect.String && field.Len() == 0 && !isBlank(key) {
			continue
		}
		elem, err := encode(field, join(path, key), depth+1)
		if err != nil {
			return nil, err
		}
		if elem != nil {
			out[key] = merge(out[key], elem)
		}
	}
	return out, nil
}

// merge puts a dictionary together whose ill-typed values went to Extra.
func merge(extra, typed any) any {
	rest, ok1 := extra.(map[string]any)
	dict, ok2 := typed.(map[string]any)
	if ok1 && ok2 {
		for k, v := range rest {
			if have, ok := dict[k]; ok {
				v = merge(v, have)
			}
			dict[k] = v
		}
	}
	return typed
}

func addressable(v reflect.Value) reflect.Value {
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// checkText refuses what XML 1.0 section 2.2 has no character for. The plist
// package writes U+FFFD in its place, without an error.
func checkText(s, path string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s: %q is not valid UTF-8", path, s)
	}
	for _, r := range s {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return fmt.Errorf("%s: %q has the character %U, which XML cannot hold", path, s, r)
		}
	}
	return nil
}
