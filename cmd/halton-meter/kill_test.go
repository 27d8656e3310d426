package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/portalloc"
)

// counter is a provider that notes which requests the daemon brought to it.
type counter struct {
	mu      sync.Mutex
	metered map[string]bool
	more    chan struct{} // gets a value, if there is room, for each
}

const requestID = "X-Request"

// ServeHTTP answers at once, or in a stream that takes a moment. The clients
// of this test speak TLS 1.2, so that what came in TLS 1.3 came from the daemon.
func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(requestID)
	if r.TLS.Version == tls.VersionTLS13 {
		c.mu.Lock()
		c.metered[id] = true
		c.mu.Unlock()
		select {
		case c.more <- struct{}{}:
		default:
		}
	}
	const usage = `"usage":{"input_tokens":3,"output_tokens":5}`
	if !strings.HasSuffix(id, "7") {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":%q,"type":"message","model":"claude-sonnet-4-5",%s}`, id, usage)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":%q,\"model\":\"claude-sonnet-4-5\",%s}}\n\n", id, usage)
	if http.NewResponseController(w).Flush() != nil {
		return
	}
	select {
	case <-r.Context().Done():
	case <-time.After(30 * time.Millisecond): // the model thinks
	}
	io.WriteString(w, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
}

func (c *counter) ids() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for id := range c.metered {
		ids = append(ids, id)
	}
	return ids
}

// daemon starts one beside the jobs, which takes a fraction of the time that
// "start" takes.
func (m *machine) daemon() *exec.Cmd {
	m.Helper()
	cmd := exec.Command(program, "daemon")
	cmd.Env = m.env
	logs, err := os.OpenFile(m.paths().In("daemon.err.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.Fatal(err)
	}
	defer logs.Close()
	cmd.Stderr = logs
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	return cmd
}

// each returns a client whose every request is a connection of its own, with
// the request's id as its project.
func (m *machine) each() *http.Client {
	m.Helper()
	c := m.client("")
	tr := c.Transport.(*http.Transport)
	through := tr.Proxy
	tr.Proxy = func(r *http.Request) (*url.URL, error) {
		u, err := through(r)
		if err != nil {
			return nil, err
		}
		own := *u
		own.User = url.User(r.Header.Get(requestID))
		return &own, nil
	}
	tr.TLSClientConfig.MaxVersion = tls.VersionTLS12
	tr.DisableKeepAlives = true
	// HTTP/2 connections are shared by host, whatever the proxy.
	tr.ForceAttemptHTTP2 = false
	return c
}

// clientOf is such a client that numbers its requests.
type clientOf struct {
	*http.Client
	name string
	n    atomic.Int64
}

func (m *machine) numbered() *clientOf {
	return &clientOf{Client: m.each(), name: fmt.Sprint("client-", clientNumber.Add(1))}
}

var clientNumber atomic.Int64

func (c *clientOf) id() string { return fmt.Sprintf("%s-%d", c.name, c.n.Add(1)) }

// askProvider sends the request with the given id.
func askProvider(ctx context.Context, c *http.Client, id string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.anthropic.com/v1/messages", strings.NewReader(`{"model":"claude-sonnet-4-5"}`))
	if err != nil {
		return err
	}
	req.Header.Set(requestID, id)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// kill -9 of the daemon fifty times under load: every exchange that it brought
// to the provider has a row in the end, and none has two.
func TestFiftyKills(t *testing.T) {
	t.Parallel()
	const kills, clients = 50, 4
	m := newMachine(t, freePorts(t))
	m.must(0, "init")
	// The daemon that init tried itself with would be in the way.
	m.halton("launchctl", "bootout", m.target(agents.Daemon))
	m.waitFor("no daemon to run", func() bool {
		rec, err := portalloc.ReadRecord(m.paths().Ports())
		return err != nil || !rec.Live()
	})
	seen := &counter{metered: map[string]bool{}, more: make(chan struct{}, 1)}
	m.provider.Handle("POST /v1/messages", seen)
	client := m.each()

	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var asked, failed atomic.Int64
	for range clients {
		load.Go(func() {
			for ctx.Err() == nil {
				if err := askProvider(ctx, client, fmt.Sprintf("call-%d", asked.Add(1))); err != nil && ctx.Err() == nil {
					failed.Add(1) // it was in the killed daemon
				}
			}
		})
	}
	began := time.Now()
	for i := range kills {
		d := m.daemon()
		ended := make(chan error, 1)
		go func() { ended <- d.Wait() }()
		for range 1 + i%7 { // at another place each time
			select {
			case <-seen.more:
			case err := <-ended:
				t.Fatalf("kill %d: the daemon ended by itself: %v", i, err)
			case <-time.After(time.Minute):
				t.Fatalf("kill %d: nothing comes through the daemon", i)
			}
		}
		if err := d.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-ended
		select {
		case <-seen.more:
		default:
		}
	}
	cancel()
	load.Wait()
	d := m.daemon()
	m.waitFor("the last daemon to be healthy", func() bool {
		rep, _ := m.status()
		return rep.Ports["api"] != 0 && healthy(t.Context(), rep.Ports["api"]) == nil
	})
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.Wait(); err != nil {
		t.Errorf("the last daemon: %v", err)
	}

	rows, status := map[string]int{}, map[string]int{}
	for _, row := range m.export() {
		rows[row.Project]++
		status[row.Status]++
		if rows[row.Project] > 1 {
			t.Errorf("exchange %s has %d rows", row.Project, rows[row.Project])
		}
	}
	metered := seen.ids()
	for _, id := range metered {
		if rows[id] == 0 {
			t.Errorf("exchange %s reached the provider and has no row", id)
		}
	}
	t.Logf("%d kills in %s: %d calls, %d through the daemon, %d failed, rows by status %v",
		kills, time.Since(began).Round(time.Millisecond), asked.Load(), len(metered), failed.Load(), status)
	if status["unknown"] == 0 {
		t.Errorf("rows by status %v: no kill cut any exchange off", status)
	}
	// A kill cuts at most one call of each client.
	if n := failed.Load(); n > kills*clients {
		t.Errorf("%d of %d calls failed", n, asked.Load())
	}
}
