// Package config reads config.toml, the one file that a user edits.
//
// A missing file is the default configuration. Unknown keys, wrong types and
// values that cannot work are errors that name the line, so that a misspelt
// key is not silently without effect.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/haltonlabs/halton-meter/internal/smallfile"
	"github.com/haltonlabs/halton-meter/meter/attribution"
)

// maxSize bounds the file: it is read by a process that must not die of it.
const maxSize = 1 << 20

// Config is the content of config.toml.
type Config struct {
	Daemon   Daemon   `toml:"daemon"`
	Edge     Edge     `toml:"edge"`
	Upstream Upstream `toml:"upstream"`
	Tagging  Tagging  `toml:"tagging"`
	Ledger   Ledger   `toml:"ledger"`
	OpenAI   OpenAI   `toml:"openai"`
	// Pricing has prices by a pattern of models' names.
	Pricing map[string]Model `toml:"pricing"`
	// Providers has hosts to meter beside the built-in ones.
	Providers map[string]Host `toml:"providers"`
}

// Daemon pins ports. 0 means the default port with its fallbacks; a port that
// is named here has none.
type Daemon struct {
	EdgePort     int `toml:"edge_port"`
	InternalPort int `toml:"internal_port"`
	APIPort      int `toml:"api_port"`
}

// Edge is about the port that clients use.
type Edge struct {
	// AllowLocal lets plain http requests that name their target reach
	// loopback and link-local addresses. A web page can make a browser send
	// such a request, so they are refused unless this is set.
	AllowLocal bool `toml:"allow_local"`
}

// Upstream says how the providers are reached.
type Upstream struct {
	// CAFile is a PEM file of extra roots for connections to providers, such
	// as those of a company's inspecting proxy.
	CAFile string `toml:"ca_file"`
	// Proxy is a parent proxy, http://[user:password@]host:port or https://….
	Proxy string `toml:"proxy"`
	// NoProxy lists what is reached without the parent proxy, as the
	// environment variable NO_PROXY does.
	NoProxy string `toml:"no_proxy"`
}

// Tagging is about the attribution to projects.
type Tagging struct {
	// DefaultProject takes what no rule attributes; "" means misc.
	DefaultProject string `toml:"default_project"`
}

// Ledger is about the rows that are stored.
type Ledger struct {
	// KeepDays is how many days a row is kept; 0 means for ever.
	KeepDays int `toml:"keep_days"`
}

// maxKeepDays is a century: more would be a slip of the finger, and at some
// point a date that no time.Time can hold.
const maxKeepDays = 36500

// Load reads the file at path. A relative ca_file is taken relative to the
// file's directory.
//
// With an error that is not about the file or its syntax comes what is in
// order: a table that is not is left out. Only the edge goes on with that, which
// must not lose the way to the providers because of a price.
func Load(path string) (Config, error) {
	var c Config
	data, err := smallfile.Read(path, maxSize)
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	dec := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err = dec.Decode(&c); err != nil {
		if _, ok := errors.AsType[*toml.StrictMissingError](err); !ok {
			c = Config{} // decoding stopped somewhere
		}
		err = errors.New(explain(err))
	}
	err = errors.Join(err, c.validate())
	if f := c.Upstream.CAFile; f != "" && !filepath.IsAbs(f) {
		c.Upstream.CAFile = filepath.Join(filepath.Dir(path), f)
	}
	if err != nil {
		return c, fmt.Errorf("read configuration %s: %w", path, err)
	}
	return c, nil
}

// explain gives the decoder's errors with the line, and the keys by name.
func explain(err error) string {
	// A StrictMissingError unwraps to its DecodeErrors, which do not name keys.
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		var keys []string
		for _, e := range strict.Errors {
			row, _ := e.Position()
			keys = append(keys, fmt.Sprintf("line %d: unknown key %s%s", row, dotted(e.Key()), keysOf(e.Key())))
		}
		return strings.Join(keys, "; ")
	}
	if decode, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, col := decode.Position()
		return fmt.Sprintf("line %d, column %d: %s", row, col, strings.TrimPrefix(decode.Error(), "toml: "))
	}
	return err.Error()
}

// validate reports what cannot work, and leaves it out.
func (c *Config) validate() error {
	var errs []error
	if err := c.Daemon.validate(); err != nil {
		errs, c.Daemon = append(errs, err), Daemon{}
	}
	if _, err := c.Upstream.ProxyURL(); err != nil {
		errs, c.Upstream.Proxy = append(errs, err), ""
	}
	if p := c.Tagging.DefaultProject; p != "" {
		if _, err := attribution.Slug(p); err != nil {
			errs, c.Tagging = append(errs, fmt.Errorf("tagging.default_project: %w", err)), Tagging{}
		}
	}
	if d := c.Ledger.KeepDays; d < 0 || d > maxKeepDays {
		errs = append(errs, fmt.Errorf("ledger.keep_days = %d: use 1 to %d days, or 0 to keep every row", d, maxKeepDays))
		c.Ledger = Ledger{}
	}
	if len(c.Pricing) > 0 { // else the edge would load the price book for nothing
		if _, err := c.Book(); err != nil {
			errs, c.Pricing = append(errs, err), nil
		}
	}
	if _, err := c.Table(); err != nil {
		errs, c.Providers = append(errs, err), nil
	}
	return errors.Join(errs...)
}

func (d Daemon) validate() error {
	seen := map[int]string{}
	for _, p := range []struct {
		key  string
		port int
	}{
		{"daemon.edge_port", d.EdgePort},
		{"daemon.internal_port", d.InternalPort},
		{"daemon.api_port", d.APIPort},
	} {
		if p.port == 0 {
			continue
		}
		if p.port < 1 || p.port > 65535 {
			return fmt.Errorf("%s = %d is not a port: use 1024 to 65535", p.key, p.port)
		}
		if other, ok := seen[p.port]; ok {
			return fmt.Errorf("%s and %s are both %d: give each its own port", other, p.key, p.port)
		}
		seen[p.port] = p.key
	}
	return nil
}

// ProxyURL is Proxy as a URL, nil if there is none.
func (u Upstream) ProxyURL() (*url.URL, error) {
	if u.Proxy == "" {
		return nil, nil
	}
	p, err := url.Parse(u.Proxy)
	if err != nil || p.Host == "" || (p.Scheme != "http" && p.Scheme != "https") {
		// The parse error repeats the URL, which may hold a password.
		return nil, errors.New("upstream.proxy is not a proxy URL: write http://host:port")
	}
	return p, nil
}
