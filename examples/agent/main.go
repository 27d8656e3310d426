// Agent is a complete launchd agent: it installs, restarts and removes itself,
// and while launchd runs it, it logs that it is alive.
//
//	agent install | restart | status | remove
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
)

const label = "com.haltonlabs.example.agent"

func main() {
	// launchd ends a job with SIGTERM, and 5 s later with SIGKILL.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, new(launchd.Client), os.Stdout, os.Args[1:]...); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, client *launchd.Client, out io.Writer, args ...string) error {
	home, err1 := os.UserHomeDir()
	self, err2 := os.Executable()
	domain := launchd.GUI(os.Getuid())
	service, err3 := domain.Service(label)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	plist := filepath.Join(home, "Library", "LaunchAgents", label+".plist")
	switch fmt.Sprint(args) {
	case "[install]":
		job := &launchd.Job{
			Label: label, ProgramArguments: []string{self, "work"},
			KeepAlive: launchd.RestartAfterFailure(), ThrottleInterval: new(1),
			StandardOutPath: filepath.Join(home, "Library", "Logs", label+".log"),
		}
		_, err := client.Apply(ctx, domain, plist, job, launchd.LoadOptions{})
		return err
	case "[restart]":
		_, err := client.Restart(ctx, service)
		return err
	case "[remove]":
		return client.Remove(ctx, service, plist)
	case "[status]":
		svc, err := client.Print(ctx, service)
		if err == nil {
			fmt.Fprintln(out, svc.State, svc.PID)
		}
		return err
	case "[work]":
		return work(ctx, slog.New(slog.NewTextHandler(out, nil)))
	}
	return errors.New("usage: agent install | restart | status | remove")
}

func work(ctx context.Context, log *slog.Logger) error {
	for tick := time.NewTicker(time.Minute); ; {
		log.Info("agent.alive", "pid", os.Getpid())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
