// Edge is a fail-open edge in front of an HTTP service. While the helper beside
// it is healthy, requests go through the helper (a cache, a recorder, a meter:
// any program with a proxyedge.Receiver); else straight to the service.
//
//	edge 127.0.0.1:8000 http://127.0.0.1:9000 127.0.0.1:9090 key-file
package main

import (
	"context"
	"log"
	"net"
	"net/url"
	"os"
	"os/signal"

	"github.com/haltonlabs/halton-meter/proxyedge"
)

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: edge <listen address> <URL of the service> <address of the helper> <key file>")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", os.Args[1])
	if err == nil {
		err = serve(ctx, ln, os.Args[2], os.Args[3], os.Args[4])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, ln net.Listener, service, helper, keyFile string) error {
	target, err := url.Parse(service)
	if err != nil {
		return err
	}
	edge := &proxyedge.Edge{
		Routes:  []proxyedge.Route{{Prefix: "/", Target: target}},
		Metered: func(string, int) bool { return true },
		Daemon:  func() (proxyedge.Daemon, error) { return proxyedge.Daemon{Proxy: helper}, nil },
		Probe:   func(context.Context, proxyedge.Daemon) error { return nil }, // its proof is enough
		Key:     func() []byte { key, _ := os.ReadFile(keyFile); return key }, // none: straight on
	}
	return edge.Serve(ctx, ln)
}
