package mactools

import (
	"context"
	"fmt"
	"net"
	"strings"
)

// Effective is the proxy configuration that programs see now, of whichever
// service, VPN or profile it comes.
type Effective struct {
	HTTPS string // host:port, empty for none
	HTTP  string
	PAC   string // URL of a PAC file that is in use
	WPAD  bool
}

// Effective asks scutil.
func (t Tools) Effective(ctx context.Context) (Effective, error) {
	out, err := t.do(ctx, "scutil", "--proxy")
	if err != nil {
		return Effective{}, fmt.Errorf("read the system proxy: %w", err)
	}
	return parseEffective(out), nil
}

// parseEffective reads the printed dictionary: a line "Key : value" each. The
// server of a proxy that is off is printed too, so only the flag counts. What
// lies deeper, such as __SCOPED__ with the settings of each interface, is not
// what programs see.
func parseEffective(out string) Effective {
	f := map[string]string{}
	depth := 0
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch key, value, ok := strings.Cut(line, " : "); {
		case strings.HasSuffix(line, "{"):
			depth++
		case line == "}":
			depth--
		case ok && depth == 1:
			f[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	var e Effective
	if f["HTTPSEnable"] == "1" {
		e.HTTPS = net.JoinHostPort(f["HTTPSProxy"], f["HTTPSPort"])
	}
	if f["HTTPEnable"] == "1" {
		e.HTTP = net.JoinHostPort(f["HTTPProxy"], f["HTTPPort"])
	}
	if f["ProxyAutoConfigEnable"] == "1" {
		e.PAC = f["ProxyAutoConfigURLString"]
	}
	e.WPAD = f["ProxyAutoDiscoveryEnable"] == "1"
	return e
}
