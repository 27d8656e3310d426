// Package haltonmeter is the map of the module: it holds no code of its own.
//
// Halton Meter tells developers what their LLM calls cost, per project,
// without ever getting in their way. Tools send their traffic to an always-on
// edge on 127.0.0.1:8081. While the metering daemon is healthy, the edge
// chains the calls to LLM providers to it; the daemon terminates TLS with a
// local CA, forwards the exchange unchanged and writes one ledger row for it.
// While the daemon is down, the edge tunnels straight to the provider.
//
// The cardinal rule is zero workflow disruption: no state of the daemon, the
// ledger or the command line may make a tool fail, stall or see other bytes.
// Where metering and traffic conflict, traffic wins, and the loss is visible.
//
// # Packages for your own programs
//
//   - launchd: typed plists, launchctl's verbs, retry that understands its
//     races, parsers of its output.
//   - launchd/emulator, launchd/launchdtest: a launchd for systems and tests
//     that have none.
//   - portalloc: named loopback ports with fallbacks, returned as open
//     listeners.
//   - proxyedge: a fail-open proxy in front of a local service.
//   - meter: the metering daemon, assembled from the rooms beneath it.
//   - meter/transport: an http.RoundTripper that meters its own program.
//
// # The rooms of the meter
//
// An exchange passes through them in this order:
//
//		proxyedge -> meter/capture -> meter/tap -> meter/provider
//		          -> meter/attribution, meter/pricing -> meter/ledger -> meter/api
//
//	  - meter/ca: the local certificate authority and the trust bundle.
//	  - meter/capture: the intercepting proxy; hands copies of bytes to a tap.
//	  - meter/tap: copied bytes to exactly one record.
//	  - meter/provider: one file a wire format: events to usage. Pure.
//	  - meter/pricing: the dated price book. Pure.
//	  - meter/attribution: which project an exchange belongs to.
//	  - meter/ledger: journal and SQLite store.
//	  - meter/api: the HTTP API on loopback.
//	  - meter/watchdog: acts once when metering dies, and once when it is back.
//
// # The command
//
// cmd/halton-meter assembles the packages into the product. Its own files have
// a command each, start.go for "halton-meter start", and what commands share
// is beneath it:
//
//   - agents: the four jobs, where their files lie, and the steps that install
//     and remove them; under launchd, the emulator, or systemd by way of systemd.
//   - config: config.toml; upstream: the proxy that the user had before.
//   - doctor: what is wrong with an installation, and what mends it.
//   - edgectl: asks a running edge what it did, and upgrades it in place.
//   - shellenv: the variables that lead a shell's programs through the edge.
//   - mactools: networksetup, security and scutil.
//   - term, manual: how it speaks, and what it says about itself.
//
// cmd/halton-meter/testdata/script has a script for each mode, which shows the
// whole from outside. cmd/meterbench measures the product side by side with
// other proxies, and .ci/e2e drives it with the providers' SDKs. The README at
// the root of the repository is for users.
//
// # What several rooms need
//
// Package internal/house is the rules of this module as tests. The others
// beneath internal are small: atomicfile, filelock, logfile, secret, smallfile
// and unixsock for files, process for what owns them, activation for sockets
// that are handed over, replay and sandbox for tests.
package haltonmeter
