package emulator

import (
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/launchd"
)

func TestWhereSocketsAreBound(t *testing.T) {
	port := &launchd.IntOrString{Int: 8081}
	for name, c := range map[string]struct {
		in   launchd.Socket
		want string // "" is refused
	}{
		"an address":          {launchd.Socket{SockNodeName: "127.0.0.1", SockServiceName: port}, "tcp 127.0.0.1:8081"},
		"of IPv6":             {launchd.Socket{SockNodeName: "::1", SockServiceName: port}, "tcp [::1]:8081"},
		"a name has two":      {launchd.Socket{SockNodeName: "localhost", SockServiceName: port}, "tcp 127.0.0.1:8081, tcp [::1]:8081"},
		"or one":              {launchd.Socket{SockNodeName: "localhost", SockServiceName: port, SockFamily: "IPv4"}, "tcp 127.0.0.1:8081"},
		"or the other":        {launchd.Socket{SockNodeName: "localhost", SockServiceName: port, SockFamily: "IPv6"}, "tcp [::1]:8081"},
		"no node is loopback": {launchd.Socket{SockServiceName: port, SockFamily: "IPv4"}, "tcp 127.0.0.1:8081"},
		"a port as text":      {launchd.Socket{SockNodeName: "127.0.0.1", SockServiceName: &launchd.IntOrString{Str: new("8081")}}, "tcp 127.0.0.1:8081"},
		"a path":              {launchd.Socket{SockPathName: "/tmp/x", SockPassive: new(true), SockType: "stream"}, "unix /tmp/x"},
		"datagrams":           {launchd.Socket{SockType: "dgram", SockServiceName: port}, ""},
		"UDP":                 {launchd.Socket{SockProtocol: "UDP", SockServiceName: port}, ""},
		"a client":            {launchd.Socket{SockPassive: new(false), SockServiceName: port}, ""},
		"a relative path":     {launchd.Socket{SockPathName: "x"}, ""},
		"a secret path":       {launchd.Socket{SecureSocketWithKey: "X_SOCKET"}, ""},
		"another interface":   {launchd.Socket{SockNodeName: "192.0.2.1", SockServiceName: port}, ""},
		"all interfaces":      {launchd.Socket{SockNodeName: "0.0.0.0", SockServiceName: port}, ""},
		"a far host":          {launchd.Socket{SockNodeName: "example.com", SockServiceName: port}, ""},
		"no port":             {launchd.Socket{SockNodeName: "127.0.0.1"}, ""},
		"no such service":     {launchd.Socket{SockServiceName: &launchd.IntOrString{Str: new("no-such-service")}}, ""},
		"no such port":        {launchd.Socket{SockServiceName: &launchd.IntOrString{Str: new("70000")}}, ""},
	} {
		def := launchd.Job{Sockets: map[string]launchd.OneOrMany[launchd.Socket]{"x": launchd.One(c.in)}}
		var got []string
		for _, s := range socketsOf(&def) {
			if s.refused == nil {
				got = append(got, s.network+" "+s.address)
			} else if err := s.open(); err == nil {
				t.Errorf("%s: a socket that is refused was opened", name)
			}
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
}
