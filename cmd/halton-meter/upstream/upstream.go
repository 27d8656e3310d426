// Package upstream is the proxy that a user had before the meter came.
//
// Programs that are led through the edge no longer see the proxy variables of
// a company's network, so the edge and the daemon must go that way in their
// stead. What the environment says is adopted into a file of the state
// directory; [upstream] in config.toml, where it is written, is stronger.
package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// Adopted is a proxy that was found in the user's own settings. The zero value
// is none.
type Adopted struct {
	Proxy   string    `json:"proxy"`
	NoProxy string    `json:"no_proxy"`
	From    string    `json:"from"` // the variable, or "system proxy of Wi-Fi"
	At      time.Time `json:"adopted_at"`
}

// ErrUnusable means that the user's proxy is of a kind that the meter cannot
// go through. Its traffic is then better left alone.
var ErrUnusable = errors.New("cannot go through this proxy")

// variables name the proxy for https, in the order in which curl and most
// libraries look at them.
var variables = []string{"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}

// FromEnvironment is the proxy that the environment names for https. Where
// that is one of our own, by ours, there is none.
func FromEnvironment(getenv func(string) string, ours func(*url.URL) bool) (Adopted, error) {
	for _, name := range variables {
		v := getenv(name)
		if v == "" {
			continue
		}
		u, err := parse(v)
		if err != nil {
			return Adopted{}, fmt.Errorf("%s: %w", name, err)
		}
		if ours(u) {
			return Adopted{}, nil
		}
		a := Adopted{Proxy: u.String(), From: name, NoProxy: getenv("no_proxy")}
		if a.NoProxy == "" {
			a.NoProxy = getenv("NO_PROXY")
		}
		return a, nil
	}
	return Adopted{}, nil
}

// parse reads a proxy's URL as clients do: without a scheme it is http. Its
// errors do not repeat it, for it may hold a password.
func parse(v string) (*url.URL, error) {
	u, err := url.Parse(v)
	if err != nil || u.Host == "" {
		u, err = url.Parse("http://" + v)
	}
	switch {
	case err != nil || u.Hostname() == "":
		return nil, fmt.Errorf("%w: it is not a URL", ErrUnusable)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%w: it speaks %s, not http", ErrUnusable, u.Scheme)
	}
	return &url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host}, nil
}

// Redacted is the proxy without its password.
func (a Adopted) Redacted() string {
	u, err := url.Parse(a.Proxy)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}

// Same reports whether b leads the same way.
func (a Adopted) Same(b Adopted) bool { return a.Proxy == b.Proxy && a.NoProxy == b.NoProxy }

// NoProxyAnd is what a reaches directly, and what of list it does not.
func (a Adopted) NoProxyAnd(list string) string {
	all := strings.FieldsFunc(a.NoProxy, isSeparator)
	n := len(all)
	for _, host := range strings.FieldsFunc(list, isSeparator) {
		if !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	if len(all) == n {
		return a.NoProxy
	}
	return strings.Join(all, ",")
}

func isSeparator(r rune) bool { return r == ',' || unicode.IsSpace(r) }

// maxSize bounds the file: the edge reads it, and must not die of it.
const maxSize = 64 << 10

// Read reads what was adopted; a missing file is nothing.
func Read(path string) (Adopted, error) {
	var a Adopted
	data, err := smallfile.Read(path, maxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err == nil && a.Proxy != "" {
		_, err = parse(a.Proxy)
	}
	if err != nil {
		return Adopted{}, fmt.Errorf("read the adopted proxy %s: %w", path, err)
	}
	return a, nil
}

// Write keeps a for the edge and the daemon. Only the user can read it: it may
// hold a password.
func (a Adopted) Write(path string) error {
	data, err := json.MarshalIndent(a, "", "  ")
	if err == nil {
		err = atomicfile.Write(path, append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("adopt %s: %w", a.Redacted(), err)
	}
	return nil
}

// Apply is conf with what was adopted in the place of what it leaves open.
func (a Adopted) Apply(conf config.Upstream) config.Upstream {
	if conf.Proxy == "" && a.Proxy != "" {
		conf.Proxy = a.Proxy
		if conf.NoProxy == "" {
			conf.NoProxy = a.NoProxy
		}
	}
	return conf
}
