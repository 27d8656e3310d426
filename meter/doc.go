// Package meter is the metering daemon, assembled from the rooms beneath it.
//
// It takes the tunnels that an edge (package proxyedge) chains to it,
// terminates their TLS with the local CA, forwards every exchange unchanged
// and writes one ledger row for each:
//
//	err := meter.Run(ctx, meter.Config{
//		Dir:      "/home/me/.halton-meter", // as "halton-meter init" makes it
//		Internal: portalloc.Port{Name: "internal", Preferred: 8090},
//		API:      portalloc.Port{Name: "api", Preferred: 8765},
//	})
//
// # Lifecycle
//
// Run holds the directory's lock while it runs, so that there is one daemon
// for a directory. When ctx ends it drains: new tunnels are refused with the
// reason "draining" (the edge then goes direct), open ones get their answers,
// every row is stored, and Run returns nil.
//
// # Health
//
// GET /health on the API's port answers 200 while tunnels are taken and rows
// can be stored, in the journal or in the database. Anything else is a 503
// with the reason, and the edge tunnels past the daemon.
//
// # What it does not do
//
// It installs nothing, knows no launchd and no configuration file: that is
// the command's work, in cmd/halton-meter.
package meter
