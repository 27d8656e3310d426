package launchd

import "reflect"

// OneOrMany is a value that a plist may write bare or as an array. It is
// absent while Values is nil.
type OneOrMany[T any] struct {
	Values []T
	// Bare writes the one value itself, not an array of it. It counts only
	// with exactly one value.
	Bare bool
}

// One is a single value, written bare.
func One[T any](v T) OneOrMany[T] { return OneOrMany[T]{Values: []T{v}, Bare: true} }

// Many is an array of values, which may be empty.
func Many[T any](vs ...T) OneOrMany[T] {
	if vs == nil {
		vs = []T{}
	}
	return OneOrMany[T]{Values: vs}
}

func (o *OneOrMany[T]) fromPlist(v any) bool {
	var one T
	if rest, ok := decode(reflect.ValueOf(&one).Elem(), v); ok && rest == nil {
		*o = One(one)
		return true
	}
	var many []T
	rest, ok := decode(reflect.ValueOf(&many).Elem(), v)
	if !ok || rest != nil {
		return false
	}
	*o = OneOrMany[T]{Values: many}
	return true
}

func (o OneOrMany[T]) toPlist() any {
	switch {
	case o.Values == nil:
		return nil
	case o.Bare && len(o.Values) == 1:
		return o.Values[0]
	}
	return o.Values
}

// IntOrString is a number or text.
type IntOrString struct {
	// Int is the number. It counts while Str is nil.
	Int int
	// Str is the text, if not nil.
	Str *string
}

func (s *IntOrString) fromPlist(v any) bool {
	if str, ok := v.(string); ok {
		*s = IntOrString{Str: &str}
		return true
	}
	n, ok := toInt(v)
	*s = IntOrString{Int: n}
	return ok
}

func (s IntOrString) toPlist() any {
	if s.Str != nil {
		return *s.Str
	}
	return s.Int
}

func (k *KeepAlive) fromPlist(v any) bool {
	return boolOrDict(v, &k.Always, &k.Conditions)
}

func (k KeepAlive) toPlist() any {
	if k.Conditions != nil {
		return k.Conditions
	}
	return k.Always
}

func (m *MachService) fromPlist(v any) bool {
	return boolOrDict(v, &m.Enabled, &m.Options)
}

func (m MachService) toPlist() any {
	if m.Options != nil {
		return m.Options
	}
	return m.Enabled
}

func (b *Bonjour) fromPlist(v any) bool {
	if yes, ok := v.(bool); ok {
		b.Register = yes
		return true
	}
	return b.Names.fromPlist(v)
}

func (b Bonjour) toPlist() any {
	if b.Names.Values != nil {
		return b.Names
	}
	return b.Register
}

func boolOrDict[T any](v any, b *bool, dict **T) bool {
	if yes, ok := v.(bool); ok {
		*b = yes
		return true
	}
	// A struct has its own Extra, so it takes a whole dictionary or nothing.
	var d T
	_, ok := decode(reflect.ValueOf(&d).Elem(), v)
	if ok {
		*dict = &d
	}
	return ok
}
