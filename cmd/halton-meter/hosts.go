package main

import (
	"os"
	"sync"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/config"
	"github.com/haltonlabs/halton-meter/internal/reserved"
	"github.com/haltonlabs/halton-meter/meter/provider"
)

// hostsTTL is how long the edge does not look whether the configuration has
// changed.
const hostsTTL = time.Second

// hosts are the metered hosts of an edge, which runs for months: it follows the
// configuration without a restart. What cannot be read there meters nothing more.
type hosts struct {
	config string
	now    func() time.Time

	mu      sync.Mutex
	looked  time.Time
	changed time.Time // the file, when it was read
	size    int64
	current *provider.Table
}

// has has the signature of proxyedge.Edge.Metered. The reserved host is that of
// the self-test.
func (h *hosts) has(host string, port int) bool {
	return provider.IsMetered(host, port) || host == reserved.Metered && port == 443 || h.table().IsMetered(host, port)
}

func (h *hosts) table() *provider.Table {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if since := now.Sub(h.looked); since >= 0 && since < hostsTTL {
		return h.current
	}
	h.looked = now
	info, err := os.Stat(h.config)
	if err != nil {
		h.current, h.changed, h.size = nil, time.Time{}, 0
		return nil
	}
	if info.ModTime().Equal(h.changed) && info.Size() == h.size {
		return h.current
	}
	h.changed, h.size = info.ModTime(), info.Size()
	conf, _ := config.Load(h.config) // with an error, what is in order
	h.current, _ = conf.Table()
	return h.current
}
