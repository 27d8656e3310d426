package meter

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/haltonlabs/halton-meter/meter/attribution"
	"github.com/haltonlabs/halton-meter/meter/internal/booking"
	"github.com/haltonlabs/halton-meter/meter/ledger"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

// findTimeout is how long a row waits for its client to be found. It is longer
// than the look and the client's files may take.
const findTimeout = patience + 2*resolveTimeout

// maxCharges is how much of Row.Charges the ledger stores: some fifty
// turns, where one is the rule.
const maxCharges = 16 << 10

// clerk books exchanges: it attributes, prices and writes what the tap saw.
type clerk struct {
	projects projects
	clients  *clients
	cashier  booking.Cashier
	ledger   *ledger.Ledger
	log      *slog.Logger

	mu sync.Mutex
	// whose holds the client of each open exchange: the tunnel may be gone
	// when its row is written.
	whose map[string]*client
}

// open books the begin of an exchange, before it is forwarded. It cannot stop
// it: traffic goes on where metering fails, and /health tells.
func (c *clerk) open(x *tap.Exchange) {
	cl := c.clients.of(x.Client)
	c.remember(x.ID, cl)
	project, source, ok := cl.now()
	if !ok {
		// It counts only if the daemon dies before the row is written.
		project, source = c.projects.resolver.Resolve(attribution.Facts{ProxyUser: x.ProxyUser})
	}
	err := c.ledger.Begin(ledger.Opening{
		ID: x.ID, RequestedAt: x.RequestedAt.UTC(),
		Project: project, ProjectSource: source,
		Provider: x.Endpoint.Provider, Host: x.Host, Path: x.Path,
		Kind: string(x.Endpoint.Kind), Client: x.UserAgent,
	})
	if err != nil {
		c.log.Error("ledger.begin.failed", "id", x.ID, "error", err)
	}
}

// close books the exchange's row.
func (c *clerk) close(rec tap.Record) {
	row := c.row(rec)
	if err := c.ledger.Finish(row); err != nil {
		c.log.Error("ledger.finish.failed", "id", rec.ID, "error", err)
		return
	}
	c.log.Info("intercept.complete",
		"id", rec.ID, "provider", row.Provider, "model", row.Model, "project", row.Project,
		"status", row.Status, "duration_ms", rec.Latency.Milliseconds())
}

// void takes back the begin of what was no exchange.
func (c *clerk) void(x tap.Exchange) {
	c.forget(x.ID)
	if err := c.ledger.Void(x.ID); err != nil {
		c.log.Error("ledger.void.failed", "id", x.ID, "error", err)
	}
}

func (c *clerk) remember(id string, cl *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whose == nil {
		c.whose = map[string]*client{}
	}
	c.whose[id] = cl
}

func (c *clerk) forget(id string) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl := c.whose[id]
	delete(c.whose, id)
	return cl
}

// attribute finds the project of an exchange that has ended. Only now it is
// known whether the request says where its client works.
func (c *clerk) attribute(rec tap.Record) (project, source string) {
	facts := attribution.Facts{ProxyUser: rec.ProxyUser}
	if cl := c.forget(rec.ID); cl != nil {
		select {
		case <-cl.found:
			if rec.Origin.Dir == "" {
				return cl.project, cl.source
			}
			facts = cl.facts
		case <-time.After(findTimeout):
		}
	}
	facts.Stated = rec.Origin.Dir
	return c.projects.resolve(facts)
}

func (c *clerk) row(rec tap.Record) ledger.Row {
	row := ledger.Row{
		ID:          rec.ID,
		RequestedAt: rec.RequestedAt.UTC(),
		Provider:    rec.Endpoint.Provider,
		Host:        rec.Host,
		Path:        rec.Path,
		Model:       rec.Model,
		Mode:        string(rec.Mode),
		Kind:        string(rec.Endpoint.Kind),
		Stream:      rec.Stream,
		Client:      rec.UserAgent,
		RawUsage:    rec.RawUsage,
		Tier:        rec.Tier,
		ErrorCode:   rec.ErrorCode,
		ResponseID:  rec.ResponseID,
		SessionID:   rec.Origin.SessionID,
		AgentID:     rec.Origin.AgentID,

		TokensComplete: rec.Complete,
		LatencyMS:      new(float64(rec.Latency.Microseconds()) / 1000),
	}
	if rec.HTTPStatus != 0 {
		row.HTTPStatus = new(rec.HTTPStatus)
	}
	if rec.FirstByte != 0 {
		row.FirstByteMS = new(float64(rec.FirstByte.Microseconds()) / 1000)
	}
	var class string
	if row.Status, class = booking.Status(rec); class != "" {
		row.ErrorClass = new(class)
	}
	c.tokens(&row, rec)
	// Before the wait for the client, as the first of a response bears its cost.
	if cost := c.cashier.Cost(rec); cost.Known {
		row.CostNanoUSD, row.RatesSource = new(cost.NanoUSD), new(cost.Source)
	} else {
		row.CostReason = new(cost.Reason)
	}
	row.Project, row.ProjectSource = c.attribute(rec)
	return row
}

// tokens sets the counts.
func (c *clerk) tokens(row *ledger.Row, rec tap.Record) {
	u := rec.Usage
	if u == nil || rec.HTTPStatus == 0 {
		return
	}
	row.InputTokens = new(u.Input)
	row.OutputTokens = new(u.Output)
	row.ThinkingTokens = new(u.Thinking)
	row.CacheReadTokens = new(u.CacheRead)
	row.CacheWriteTokens = new(u.CacheWrite5m + u.CacheWrite1h)
	row.CacheWrite1hTokens = new(u.CacheWrite1h)
	row.ToolCalls = u.ToolCalls
	if rec.ReportedCost != nil {
		row.ReportedCostNanoUSD = new(rec.ReportedCost.NanoUSD)
	}
	// What was billed at other models, or as audio, is in no column.
	if charges, err := json.Marshal(rec.Charges); err == nil {
		row.Charges = charges
	}
	if len(row.Charges) > maxCharges {
		row.Charges = []byte("[]") // lest a part be priced as the whole
	}
}

// billedTimeout bounds the look for an earlier row of a response.
const billedTimeout = 5 * time.Second

// billed reports whether the ledger has the tokens of a response.
func (d *daemon) billed(provider, responseID string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), billedTimeout)
	defer cancel()
	r, err := ledger.OpenReader(ctx, d.Dir)
	if err != nil {
		d.Logger.Warn("ledger.response.unknown", "error", err)
		return false
	}
	defer r.Close()
	found, err := r.Counted(ctx, provider, responseID)
	if err != nil {
		d.Logger.Warn("ledger.response.unknown", "error", err)
	}
	return found
}
