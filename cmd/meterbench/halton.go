package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// product is a halton-meter that is installed in a HOME of its own, with real
// processes under the built-in launchd.
type product struct {
	program string
	home    string
	env     []string
	ports   [3]int // edge, internal, api

	originCA string
}

// install sets it up, with the daemon running or stopped. The origin is its
// provider.
func (b *bench) install(ctx context.Context, daemon bool) (*product, error) {
	home, err := b.folder("home")
	if err != nil {
		return nil, err
	}
	p := &product{program: b.program, home: home, originCA: b.origin.caFile}
	for i := range p.ports {
		if p.ports[i], err = b.freePort(); err != nil {
			return nil, err
		}
	}
	p.env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + b.dir}
	if runtime.GOOS == "darwin" {
		// Never this user's own launchd: the labels are those of the product.
		launchctl, err := write(home, "launchctl", fmt.Sprintf("#!/bin/sh\nexec %q launchctl \"$@\"\n", p.program))
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(launchctl, 0o700); err != nil { //nolint:gosec // a program
			return nil, err
		}
		p.env = append(p.env, "HALTON_METER_LAUNCHCTL="+launchctl)
	}
	if err := os.Mkdir(p.state(), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(p.state(), "config.toml"), []byte(productConfig(p.ports, b.origin)), 0o600); err != nil {
		return nil, err
	}
	b.onClose(func() {
		// The end of ctx is why we clear away, so it cannot bound it.
		if err := p.run(context.WithoutCancel(ctx), "uninstall", "--purge", "--include-logs", "--yes"); err != nil {
			fmt.Fprintln(os.Stderr, "meterbench:", err)
		}
	})
	if err := p.run(ctx, "init"); err != nil {
		return nil, err
	}
	// Either may be so after init already.
	verb := "stop"
	if daemon {
		verb = "start"
	}
	if err := p.run(ctx, verb); err != nil {
		return nil, err
	}
	return p, awaitListener(ctx, p.address(), nil)
}

// productConfig pins the ports, and makes the origin the parent proxy.
func productConfig(ports [3]int, o *origin) string {
	return fmt.Sprintf("[daemon]\nedge_port = %d\ninternal_port = %d\napi_port = %d\n\n[upstream]\nproxy = %q\nca_file = %q\n",
		ports[0], ports[1], ports[2], "http://"+o.Address, o.caFile)
}

func (p *product) state() string   { return filepath.Join(p.home, ".halton-meter") }
func (p *product) address() string { return fmt.Sprintf("127.0.0.1:%d", p.ports[0]) }

func (p *product) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.program, args...)
	cmd.Env, cmd.Dir = p.env, p.home
	return cmd
}

func (p *product) run(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if out, err := p.command(ctx, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("run halton-meter %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// contender is the way through the edge.
func (p *product) contender(ctx context.Context, name, target string, jobs ...string) (contender, error) {
	c := contender{name: name, addr: p.address(), connect: true, target: target}
	var pids []int
	for _, job := range jobs {
		pid, err := p.pid(ctx, job)
		if err != nil {
			return c, err
		}
		pids = append(pids, pid)
	}
	c.pids = func() []int { return pids }
	return c, nil
}

// metered is the way through the edge and the daemon, with the certificate
// that a client trusts.
func (p *product) metered(ctx context.Context, name string, jobs ...string) (contender, error) {
	c, err := p.contender(ctx, name, meteredHost+":443", jobs...)
	if err != nil {
		return c, err
	}
	// The provider's root too: an edge that gives up on the daemon goes direct,
	// and the client is not to notice. lost tells how often that was.
	c.trust, err = trust(filepath.Join(p.state(), "ca", "ca.pem"), p.originCA)
	return c, err
}

// The product's jobs, by the names that status gives them.
const (
	edgeJob   = "edge"
	daemonJob = "daemon"
)

// report is what "halton-meter status --json" tells, as far as it matters here.
type report struct {
	Components []struct {
		Name string `json:"name"`
		PID  int    `json:"pid"`
	} `json:"components"`
	Traffic struct {
		// Lost counts tunnels to metered hosts that went direct.
		Lost int `json:"lost"`
	} `json:"traffic"`
}

func (p *product) status(ctx context.Context) (report, error) {
	// It exits with another code while not everything is up.
	out, err := p.command(ctx, "status", "--json").Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return report{}, fmt.Errorf("run halton-meter status: %w", err)
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		return report{}, fmt.Errorf("read halton-meter status: %w", err)
	}
	return r, nil
}

// pid is the process of a job.
func (p *product) pid(ctx context.Context, job string) (int, error) {
	r, err := p.status(ctx)
	if err != nil {
		return 0, err
	}
	for _, c := range r.Components {
		if c.Name == job && c.PID != 0 {
			return c.PID, nil
		}
	}
	return 0, fmt.Errorf("find the process of %s: status names none", job)
}
