package watchdog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	errRefused = fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	errOther   = errors.New("too many open files")
	errAction  = errors.New("networksetup: not now")
)

// errHang is a probe result: wait until the probe's context ends.
var errHang = errors.New("hang")

// TestRunTimes plays a list of probe results, one a poll, and asserts what
// ran at which time. After the list every probe is answered.
func TestRunTimes(t *testing.T) {
	const poll = 1500 * time.Millisecond
	refused := func(n int) []error { return slices.Repeat([]error{errRefused}, n) }
	list := func(parts ...[]error) []error { return slices.Concat(parts...) }
	ok := []error{nil}
	for _, tt := range []struct {
		name      string
		probes    []error
		startDown bool
		failDown  int // how often Down fails first
		failUp    int
		want      []string
	}{
		{name: "healthy", probes: ok},
		{name: "four failures", probes: refused(4)},
		{name: "five failures, then recovery", probes: refused(5), want: []string{"down 6s", "up 7.5s"}},
		{name: "once, however long", probes: refused(40), want: []string{"down 6s", "up 1m0s"}},
		{name: "an answer starts the count again", probes: list(refused(4), ok, refused(4))},
		{name: "dies twice", probes: list(refused(5), ok, refused(5)), want: []string{"down 6s", "up 7.5s", "down 15s", "up 16.5s"}},
		{name: "failures after recovery count from zero", probes: list(refused(6), ok, refused(4)), want: []string{"down 6s", "up 9s"}},
		{name: "timeouts count", probes: slices.Repeat([]error{errHang}, 5), want: []string{"down 7s", "up 7.5s"}},
		{name: "other errors count neither way", probes: list(refused(4), []error{errOther}, refused(1)), want: []string{"down 7.5s", "up 9s"}},
		{name: "other errors are no recovery", probes: list(refused(5), []error{errOther, errOther}), want: []string{"down 6s", "up 10.5s"}},
		{name: "down is retried", probes: refused(9), failDown: 2, want: []string{"down fails 6s", "down fails 7.5s", "down 9s", "up 13.5s"}},
		{name: "down is retried after an unclear probe", probes: list(refused(5), []error{errOther}), failDown: 1, want: []string{"down fails 6s", "down 7.5s", "up 9s"}},
		{name: "half a down is undone", probes: refused(5), failDown: 1, want: []string{"down fails 6s", "up 7.5s"}},
		{name: "up is retried", probes: refused(5), failUp: 2, want: []string{"down 6s", "up fails 7.5s", "up fails 9s", "up 10.5s"}},
		{name: "up waits for an answer", probes: list(refused(5), ok, refused(2)), failUp: 1, want: []string{"down 6s", "up fails 7.5s", "up 12s"}},
		{name: "down again after a failed up", probes: list(refused(5), ok, refused(5)), failUp: 1, want: []string{"down 6s", "up fails 7.5s", "down 15s", "up 16.5s"}},
		{name: "an earlier process ran down", startDown: true, probes: refused(7), want: []string{"up 10.5s"}},
		{name: "an earlier process ran down, all is well", startDown: true, want: []string{"up 0s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var got []string
				action := func(name string, fails int) func(context.Context) error {
					return func(context.Context) error {
						at := time.Since(start).String()
						if fails > 0 {
							fails--
							got = append(got, name+" fails "+at)
							return errAction
						}
						got = append(got, name+" "+at)
						return nil
					}
				}
				next := 0
				w := Watchdog{
					Probe: func(ctx context.Context) error {
						next++
						if next > len(tt.probes) {
							return nil
						}
						if want := time.Duration(next-1) * poll; time.Since(start) != want {
							t.Errorf("probe %d at %v, want %v", next, time.Since(start), want)
						}
						if errors.Is(tt.probes[next-1], errHang) {
							<-ctx.Done()
							return ctx.Err()
						}
						return tt.probes[next-1]
					},
					Down:      action("down", tt.failDown),
					Up:        action("up", tt.failUp),
					StartDown: tt.startDown,
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(len(tt.probes)+10)*poll)
				defer cancel()
				if err := w.Run(ctx); err != nil {
					t.Error(err)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func TestRunWithoutActions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes := 0
		w := Watchdog{
			Interval: time.Minute,
			Failures: 1,
			Probe: func(context.Context) error {
				if probes++; probes%2 == 1 {
					return errRefused
				}
				return nil
			},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+time.Second)
		defer cancel()
		if err := w.Run(ctx); err != nil || probes != 11 {
			t.Errorf("%d probes, %v", probes, err)
		}
	})
}

// The end of Run's context ends a probe that hangs, and is no failure.
func TestRunEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := Watchdog{
			Failures: 1,
			Probe:    func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			Down:     func(context.Context) error { t.Error("down at the end"); return nil },
		}.Run(ctx)
		if err != nil || time.Since(start) != 300*time.Millisecond {
			t.Errorf("Run = %v after %v", err, time.Since(start))
		}
	})
	if err := (Watchdog{}).Run(t.Context()); err == nil {
		t.Error("no error without a probe")
	}
}

func TestRunLogsTransitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		downs := 0
		answers := []error{errRefused, errRefused, errRefused, errOther, nil}
		ctx, cancel := context.WithCancel(t.Context())
		w := Watchdog{
			Failures: 2,
			Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
				ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
					if a.Key == slog.TimeKey {
						return slog.Attr{}
					}
					return a
				},
			})),
			Probe: func(context.Context) error {
				if len(answers) == 0 {
					cancel()
					return nil
				}
				err := answers[0]
				answers = answers[1:]
				return err
			},
			Down: func(context.Context) error {
				if downs++; downs == 1 {
					return errAction
				}
				return nil
			},
			Up: func(context.Context) error { return nil },
		}
		if err := w.Run(ctx); err != nil {
			t.Fatal(err)
		}
		want := []string{
			`level=WARN msg=watchdog.service.down failures=2 error="dial: connection refused"`,
			`level=ERROR msg=watchdog.action.failed action=down error="networksetup: not now"`,
			`level=INFO msg=watchdog.action.done action=down`,
			`level=WARN msg=watchdog.probe.unclear error="too many open files"`,
			`level=INFO msg=watchdog.service.up`,
			`level=INFO msg=watchdog.action.done action=up`,
		}
		if got := strings.Split(strings.TrimSpace(log.String()), "\n"); !slices.Equal(got, want) {
			t.Errorf("log:\n%s\nwant:\n%s", log.String(), strings.Join(want, "\n"))
		}
	})
}

func TestGet(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"status":"draining"}`)
	}))
	defer srv.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()

	client := srv.Client()
	if err := Get(t.Context(), client, srv.URL+"/health"); err != nil {
		t.Error("503:", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Get(ctx, client, srv.URL+"/hang"); !noAnswer(err) {
		t.Error("hang:", err)
	}
	if err := Get(t.Context(), client, "http://"+gone.Addr().String()); !noAnswer(err) {
		t.Error("refused:", err)
	}
	if err := Get(t.Context(), client, "no url"); err == nil || noAnswer(err) {
		t.Error("no url:", err)
	}
}
