package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/haltonlabs/halton-meter/meter"
	"github.com/haltonlabs/halton-meter/portalloc"
	"github.com/haltonlabs/halton-meter/proxyedge"
)

// daemonRole in the environment makes this program a daemon that can be
// profiled, which the product's own cannot. It holds an assignment as JSON.
const daemonRole = "METERBENCH_DAEMON"

type assignment struct {
	Dir     string
	Ports   [3]int
	Origin  string
	CAFile  string
	Profile string
}

// claimedParsing is the share of the daemon's CPU that reading usage out of
// streams may take.
const claimedParsing = 0.05

// parts of the daemon's work, by the functions beneath which it happens.
var parts = []struct{ name, focus, ignore string }{
	{"parsing: events to usage", `meter/tap\.\(\*Flow\)\.(run|parse)`, `meter/tap\.\(\*Tap\)\.finish`},
	{"copying for the parser", `meter/tap\.\(\*Flow\)\.saw`, ""},
	{"rows: attribution, price, journal, ledger", `meter/tap\.\(\*Tap\)\.finish|meter\.\(\*clerk\)|meter/ledger\.`, ""},
	{"system calls", `syscall\.(Syscall|RawSyscall)|syscall/linux\.|runtime/syscall`, ""},
	{"encryption", `crypto/internal/fips140|crypto/tls\.\(\*(halfConn|prefixNonceAEAD|xorNonceAEAD)\)`, `syscall`},
	{"garbage collection", `runtime\.(gcBgMarkWorker|gcAssistAlloc|bgsweep|bgscavenge)`, ""},
}

// profile puts the daemon under a load of streams and tells where its CPU
// goes.
func (b *bench) profile(ctx context.Context) error {
	n := b.streamCounts[0]
	t := newTable(fmt.Sprintf("The daemon's CPU under %d streams", n), figure{name: "share of the daemon's CPU", unit: inPercent, base: "everything"})
	file := b.profileFile
	if file == "" {
		file = filepath.Join(b.dir, "cpu.pprof")
	}
	p, err := b.install(ctx, false)
	if err != nil {
		return err
	}
	d, err := b.startProfiled(ctx, p, file)
	if err != nil {
		return err
	}
	c, err := p.metered(ctx, metered)
	if err != nil {
		return err
	}
	if err := d.begin(); err != nil {
		return err
	}
	pace := time.Duration(n) * time.Second / time.Duration(b.events)
	if _, err := b.streamRound(ctx, c, contender{}, n, pace); err != nil {
		return err
	}
	if err := d.finish(); err != nil {
		return err
	}
	for _, part := range parts {
		share, err := profileShare(ctx, file, part.focus, part.ignore)
		if err != nil {
			return err
		}
		t.add(part.name, result{t.figures[0].name: share})
	}
	t.note("%v with %d events a second. The parts are cut by function and do not add up to the whole; what a part allocates shows under garbage collection.", b.duration, b.events)
	t.claimIn(inPercent, "parsing's share of the daemon's CPU", median(t.values(parts[0].name, t.figures[0].name)), claimedParsing)
	return b.publish(t)
}

// profiled is a daemon in a process of its own.
type profiled struct {
	in     io.WriteCloser
	out    *bufio.Reader
	exited <-chan error
}

func (b *bench) startProfiled(ctx context.Context, p *product, file string) (*profiled, error) {
	what, err := json.Marshal(assignment{p.state(), p.ports, b.origin.Address, b.origin.caFile, file})
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), exe)
	cmd.Env = append(append([]string{}, p.env...), daemonRole+"="+string(what))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start profiled daemon: %w", err)
	}
	exited := make(chan error, 1)
	ended := make(chan struct{})
	d := &profiled{in, bufio.NewReader(out), exited}
	go func() { defer close(ended); exited <- cmd.Wait() }()
	b.onClose(func() { in.Close(); <-ended })

	healthy := fmt.Sprintf("http://127.0.0.1:%d/health", p.ports[2])
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, healthy, nil)
		if err != nil {
			return nil, err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return d, nil
			}
		}
		select {
		case err := <-exited:
			return nil, fmt.Errorf("start profiled daemon: it ended: %w", err)
		default:
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, fmt.Errorf("wait for profiled daemon: %w", err)
		}
	}
}

// begin makes it write its profile from now on, finish to the end.
func (d *profiled) begin() error { return d.say("begin\n") }

func (d *profiled) finish() error {
	if err := d.say("end\n"); err != nil {
		return err
	}
	d.in.Close()
	if err := <-d.exited; err != nil {
		return fmt.Errorf("end profiled daemon: %w", err)
	}
	return nil
}

func (d *profiled) say(word string) error {
	if _, err := io.WriteString(d.in, word); err != nil {
		return fmt.Errorf("talk to profiled daemon: %w", err)
	}
	if _, err := d.out.ReadString('\n'); err != nil {
		return fmt.Errorf("talk to profiled daemon: %w", err)
	}
	return nil
}

// daemonMain is that process's life. It ends with its standard input.
func daemonMain() error {
	var a assignment
	if err := json.Unmarshal([]byte(os.Getenv(daemonRole)), &a); err != nil {
		return err
	}
	roots, err := trust(a.CAFile)
	if err != nil {
		return err
	}
	parent := &proxyedge.ParentProxy{URL: &url.URL{Scheme: "http", Host: a.Origin}}
	ctx, stop := context.WithCancel(context.Background())
	profiling := make(chan error, 1)
	go func() { defer stop(); profiling <- obey(a.Profile) }()
	err = meter.Run(ctx, meter.Config{
		Dir:      a.Dir,
		Internal: portalloc.Port{Name: "internal", Preferred: a.Ports[1], Pinned: true},
		API:      portalloc.Port{Name: "api", Preferred: a.Ports[2], Pinned: true},
		EdgePort: a.Ports[0],
		Dial:     parent.DialContext,
		RootCAs:  roots.RootCAs,
	})
	if err != nil {
		return err
	}
	return <-profiling
}

// obey starts and ends the profile as it is told.
func obey(file string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	words := bufio.NewScanner(os.Stdin)
	for words.Scan() {
		switch words.Text() {
		case "begin":
			if err := pprof.StartCPUProfile(f); err != nil {
				return err
			}
		case "end":
			pprof.StopCPUProfile()
		}
		fmt.Println("done")
	}
	return words.Err()
}

// profileShare is the share of the samples that have a function of focus, and
// none of ignore, on their stacks.
func profileShare(ctx context.Context, file, focus, ignore string) (float64, error) {
	args := []string{"tool", "pprof", "-top", "-nodecount=1", "-focus=" + focus}
	if ignore != "" {
		args = append(args, "-ignore="+ignore)
	}
	out, err := exec.CommandContext(ctx, "go", append(args, file)...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("read profile: %w\n%s", err, out)
	}
	return parseShare(string(out))
}

// activeTotal is how pprof begins: "Active filters:" and what of the whole
// passed them.
var activeTotal = regexp.MustCompile(`Showing nodes accounting for [^,]+, ([0-9.]+)% of`)

func parseShare(top string) (float64, error) {
	found := activeTotal.FindStringSubmatch(top)
	if found == nil {
		return 0, fmt.Errorf("read profile: unexpected output of pprof: %.200q", top)
	}
	share, err := strconv.ParseFloat(found[1], 64)
	return share / 100, err
}
