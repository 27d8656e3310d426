package agents

import "github.com/haltonlabs/halton-meter/portalloc"

// EdgeChoice is the edge's port: 8081, or 8181 to 8189, or the pinned one.
func EdgeChoice(pinned int) portalloc.Port { return choice("edge", pinned, 8081, 8181, 8189) }

// InternalChoice is the port on which the daemon takes the edge's tunnels.
func InternalChoice(pinned int) portalloc.Port { return choice("internal", pinned, 8090, 8190, 8199) }

// APIChoice is the port of the daemon's HTTP API.
func APIChoice(pinned int) portalloc.Port { return choice("api", pinned, 8765, 8865, 8869) }

func choice(name string, pinned, preferred, first, last int) portalloc.Port {
	if pinned != 0 {
		return portalloc.Port{Name: name, Preferred: pinned, Pinned: true}
	}
	p := portalloc.Port{Name: name, Preferred: preferred}
	for port := first; port <= last; port++ {
		p.Fallbacks = append(p.Fallbacks, port)
	}
	return p
}
