package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/haltonlabs/halton-meter/internal/version"
)

const usageText = `Usage: meterbench [flags] SUBJECT…

It measures halton-meter and its peers side by side on this machine, and
prints tables of what each took, with its ratio to the first row. Everything
stays on 127.0.0.1 and in a temporary folder, and is gone at the end.

Subjects:
  setup        a tunnel's opening; a metered connection's first answer
  throughput   bulk transfer, and small messages in an open tunnel
  idle         memory and descriptors of thousands of idle tunnels
  requests     what is added to a request on a kept connection
  streams      what is added to each event of many streams; memory
  profile      where the daemon's CPU goes under streams
  edge         setup, throughput and idle
  capture      requests and streams
  all          everything

The peers are used if they are installed. On Debian:
  apt-get install --no-install-recommends tinyproxy-bin squid haproxy mitmproxy
  systemctl disable --now squid haproxy    # their services are not needed

For figures to be quoted, on an otherwise idle machine:
  meterbench -duration 60s -rounds 15 all

Flags:
`

// subjects are what can be measured, in the order in which it is.
var subjects = []struct {
	name  string
	group string
	run   func(*bench, context.Context) error
}{
	{"setup", "edge", (*bench).setup},
	{"throughput", "edge", (*bench).throughput},
	{"idle", "edge", (*bench).idle},
	{"requests", "capture", (*bench).requests},
	{"streams", "capture", (*bench).streams},
	{"profile", "profile", (*bench).profile},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "meterbench:", err)
		os.Exit(1)
	}
}

func run() error {
	if played, err := playRole(); played {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := benchMain(ctx, os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	return err
}

// playRole runs this process as one of the helpers that the bench starts.
func playRole() (played bool, err error) {
	switch {
	case os.Getenv(originRole) != "":
		return true, originMain()
	case os.Getenv(daemonRole) != "":
		return true, daemonMain()
	}
	return false, nil
}

func benchMain(ctx context.Context, args []string, out io.Writer) (err error) {
	b := &bench{out: out}
	chosen, program, err := b.parse(args)
	if err != nil {
		return err
	}
	if b.workshop, err = newWorkshop(); err != nil {
		return err
	}
	defer b.close()
	if program == "" {
		err = b.build(ctx)
	} else {
		b.program, err = filepath.Abs(program)
	}
	if err != nil {
		return err
	}
	// A context that outlives the measuring: what is cleared away is asked
	// to end first, and in its order.
	if b.origin, err = startOrigin(context.WithoutCancel(ctx), b.workshop); err != nil {
		return err
	}
	fmt.Fprintf(out, "halton-meter %s, %s, %d CPUs, %s/%s, %s\n",
		version.Version, runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, time.Now().UTC().Format(time.DateOnly))
	for _, s := range subjects {
		if !slices.Contains(chosen, s.name) {
			continue
		}
		b.tellLoad(ctx, "before "+s.name)
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("measure %s: %w", s.name, err)
		}
		b.tellLoad(ctx, "after "+s.name)
	}
	return nil
}

// tellLoad says it if others keep the machine busy.
func (b *bench) tellLoad(ctx context.Context, when string) {
	const worthSaying = 0.1
	load, err := foreignLoad(ctx, time.Second)
	if err == nil && load > worthSaying {
		fmt.Fprintf(b.out, "\n**Measured under load: others kept %.0f %% of the processors busy %s.**\n", load*100, when)
	}
}

// parse reads the command line.
func (b *bench) parse(args []string) (chosen []string, program string, err error) {
	fs := flag.NewFlagSet("meterbench", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), usageText)
		fs.PrintDefaults()
	}
	var names []string
	for _, p := range peers {
		names = append(names, p.name)
	}
	fs.StringVar(&program, "program", "", "the halton-meter to measure (default: it is built from this repository)")
	peerList := fs.String("peers", strings.Join(names, ","), "who else takes part, or none")
	fs.IntVar(&b.rounds, "rounds", 7, "rounds in which the contenders take turns")
	fs.IntVar(&b.samples, "samples", 400, "samples of each contender in a round")
	fs.Int64Var(&b.bulk, "bulk", 256<<20, "bytes of a bulk transfer")
	fs.IntVar(&b.tunnels, "tunnels", 4000, "idle tunnels")
	fs.DurationVar(&b.settle, "settle", 5*time.Second, "rest before memory is read")
	fs.DurationVar(&b.duration, "duration", 10*time.Second, "how long streams are measured in a round")
	fs.IntVar(&b.streamRounds, "stream-rounds", 3, "rounds of streams")
	counts := fs.String("streams", "100,500", "how many streams at once")
	fs.IntVar(&b.events, "events", 5000, "events a second of all streams together")
	fs.StringVar(&b.profileFile, "profile", "", "where profile leaves the CPU profile (default: nowhere)")
	if err := fs.Parse(args); err != nil {
		return nil, "", err
	}
	if *peerList != "none" {
		for name := range strings.SplitSeq(*peerList, ",") {
			if !slices.Contains(names, name) {
				return nil, "", fmt.Errorf("unknown peer %q: use %s, or none", name, strings.Join(names, ", "))
			}
			b.peers = append(b.peers, name)
		}
	}
	for count := range strings.SplitSeq(*counts, ",") {
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			return nil, "", fmt.Errorf("-streams %q: write numbers with commas between them", *counts)
		}
		b.streamCounts = append(b.streamCounts, n)
	}
	if min(b.rounds, b.samples, b.tunnels, b.streamRounds, b.events) < 1 || b.bulk < 1 || b.duration <= 0 {
		return nil, "", errors.New("counts and durations must be above zero")
	}
	chosen, err = choose(fs.Args())
	return chosen, program, err
}

// choose resolves the names of subjects and groups.
func choose(args []string) ([]string, error) {
	if len(args) == 0 {
		return nil, errors.New("no subject: meterbench -h lists them")
	}
	var chosen []string
	for _, arg := range args {
		before := len(chosen)
		for _, s := range subjects {
			if arg == s.name || arg == s.group || arg == "all" {
				chosen = append(chosen, s.name)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("unknown subject %q: meterbench -h lists them", arg)
		}
	}
	return chosen, nil
}
