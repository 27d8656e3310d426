package meter_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/internal/replay"
	"github.com/haltonlabs/halton-meter/meter/ledger"
	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/transport"
)

// A program that meters itself counts what the daemon counts: all recordings
// pass through both, and each row of the one equals the other's record.
func TestTransportEqualsDaemon(t *testing.T) {
	w := newWorld(t)
	var recs []replay.Recording
	files, err := filepath.Glob("provider/testdata/recordings/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, r := range replay.Load(t, file) {
			u, err := url.Parse(r.URL)
			if err != nil {
				t.Fatal(err)
			}
			// The provider of the test has a certificate for the plain hosts.
			if _, ok := provider.Lookup(r.Method, u.Hostname(), u.EscapedPath()); ok && slices.Contains(provider.Hosts(), u.Hostname()) {
				recs = append(recs, r)
			}
		}
	}
	if len(recs) < 300 {
		t.Fatalf("only %d recordings", len(recs))
	}
	w.upstream.Recordings = recs
	w.start()

	// count is what both must agree on, of one exchange.
	type count struct {
		Provider, Model, Mode, Kind, Status, Class, Tier, Response, Reason string
		HTTP                                                               int
		Stream, Complete                                                   bool
		Input, Output, Thinking, Read, Write, Write1h, Cost                int64
		Tools                                                              string
		Raw                                                                string
	}
	var metered []count
	done := make(chan count, 1)
	own := &transport.Transport{Base: direct(w), Sink: transport.SinkFunc(func(r transport.Record) {
		c := count{
			Provider: r.Endpoint.Provider, Model: r.Model, Mode: string(r.Mode), Kind: string(r.Endpoint.Kind), Status: r.Status,
			Class: r.ErrorClass, Tier: r.Tier, Response: r.ResponseID, HTTP: r.HTTPStatus, Stream: r.Stream, Complete: r.Complete,
			Reason: r.Cost.Reason, Cost: r.Cost.NanoUSD, Raw: string(r.RawUsage),
		}
		if u := r.Usage; u != nil {
			c.Input, c.Output, c.Thinking = u.Input, u.Output, u.Thinking
			c.Read, c.Write, c.Write1h, c.Tools = u.CacheRead, u.CacheWrite5m+u.CacheWrite1h, u.CacheWrite1h, fmt.Sprint(u.ToolCalls)
		}
		done <- c
	})}
	through := w.client()
	for i, r := range recs {
		for _, c := range []*http.Client{through, {Transport: own}} {
			req, err := http.NewRequest(r.Method, r.URL, strings.NewReader(r.RequestBody))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(replay.Header, strconv.Itoa(i))
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !bytes.Equal(body, r.Body()) {
				t.Fatalf("%s: read %d bytes, %v", r.Source, len(body), err)
			}
		}
		metered = append(metered, <-done)
	}
	if err := w.wait(); err != nil {
		t.Fatal(err)
	}
	rows := w.rows()
	if len(rows) != len(recs) {
		t.Fatalf("%d rows for %d recordings", len(rows), len(recs))
	}
	slices.SortStableFunc(rows, func(a, b ledger.Row) int { return a.RequestedAt.Compare(b.RequestedAt) })
	byDaemon, byTransport := map[string]int64{}, map[string]int64{}
	shared := func(c *count, costs map[string]int64) {
		if c.Response == "" {
			return
		}
		costs[c.Response] += c.Cost
		if c.Cost == 0 && strings.Contains(c.Reason, "retrieved again") {
			c.Reason = ""
		}
		c.Cost = 0
	}
	for i, row := range rows {
		c := count{
			Provider: row.Provider, Model: row.Model, Mode: row.Mode, Kind: row.Kind, Status: row.Status, Class: value(row.ErrorClass),
			Tier: row.Tier, Response: row.ResponseID, HTTP: value(row.HTTPStatus), Stream: row.Stream, Complete: row.TokensComplete,
			Reason: value(row.CostReason), Cost: value(row.CostNanoUSD), Raw: string(row.RawUsage),
			Input: value(row.InputTokens), Output: value(row.OutputTokens), Thinking: value(row.ThinkingTokens),
			Read: value(row.CacheReadTokens), Write: value(row.CacheWriteTokens), Write1h: value(row.CacheWrite1hTokens),
		}
		if row.InputTokens != nil {
			c.Tools = fmt.Sprint(maps.Clone(row.ToolCalls))
		}
		// Of a response that was retrieved again, the row that is booked first
		// bears the cost: rows that end together may be booked in any order.
		shared(&c, byDaemon)
		shared(&metered[i], byTransport)
		if diff := cmp.Diff(c, metered[i]); diff != "" {
			t.Errorf("%s (the daemon's row, then the transport's record): %s", recs[i].Source, diff)
		}
	}
	if diff := cmp.Diff(byDaemon, byTransport); diff != "" {
		t.Errorf("costs of responses: %s", diff)
	}
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// direct leads to the world's provider without the edge.
func direct(w *world) http.RoundTripper {
	w.Helper()
	pem, err := os.ReadFile(w.upstream.CAFile)
	if err != nil {
		w.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	tr := &http.Transport{
		DialContext:       w.dial,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}
	w.Cleanup(tr.CloseIdleConnections)
	return tr
}
