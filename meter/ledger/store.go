package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// columns of a Row, in the order of rowValues and scanRow. The names are the
// JSON keys; the project lies in the table as project_id.
var columns = []string{
	"id", "requested_at", "project", "project_source", "provider", "host", "path",
	"model", "mode", "kind", "stream", "status", "http_status", "error_class",
	"input_tokens", "output_tokens", "thinking_tokens",
	"cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "tool_calls",
	"cost_nano_usd", "cost_reason", "rates_source", "tokens_complete",
	"latency_ms", "first_byte_ms", "client",
	"raw_usage", "tier", "error_code", "response_id",
	"reported_cost_nano_usd", "session_id", "agent_id", "charges",
}

// exported is how many of the columns, from the first on, are keys of the
// export.
const exported = 28

const insertProject = `INSERT INTO projects (id, slug, name, created_at) VALUES (?1, ?2, ?2, ?3)
ON CONFLICT (slug) DO NOTHING`

// insertRequest is idempotent by id. Only the placeholder of an exchange that
// seemed to have died gives way, to the row that came after all.
var insertRequest = func() string {
	var names, values, updates []string
	for _, c := range columns {
		value := "?"
		if c == "project" {
			c, value = "project_id", "(SELECT id FROM projects WHERE slug = ?)"
		}
		names = append(names, c)
		values = append(values, value)
		updates = append(updates, c+" = excluded."+c)
	}
	return "INSERT INTO requests (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(values, ", ") +
		") ON CONFLICT (id) DO UPDATE SET " + strings.Join(updates, ", ") +
		" WHERE requests.status = '" + statusUnknown + "' AND excluded.status <> '" + statusUnknown + "'"
}()

// statusUnknown is the status of an exchange whose end nobody recorded.
const statusUnknown = "unknown"

// store puts rows into the database, all or none, and returns how many were
// not there before.
func (d *database) store(ctx context.Context, rows []Row) (added int64, err error) {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("store rows: %w", err)
	}
	defer tx.Rollback()
	project, request := tx.StmtContext(ctx, d.project), tx.StmtContext(ctx, d.request)
	// The transaction ends with ctx. If each of its statements could too, the
	// driver would start a goroutine for each.
	ctx = context.WithoutCancel(ctx)
	known := map[string]bool{}
	for _, r := range rows {
		if !known[r.Project] {
			if _, err := project.ExecContext(ctx, NewID(), r.Project, r.RequestedAt.UnixMicro()); err != nil {
				return 0, fmt.Errorf("store project: %w", err)
			}
			known[r.Project] = true
		}
		values, err := rowValues(r)
		if err != nil {
			return 0, fmt.Errorf("store row %s: %w", r.ID, err)
		}
		res, err := request.ExecContext(ctx, values...)
		if err != nil {
			return 0, fmt.Errorf("store row %s: %w", r.ID, err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return 0, fmt.Errorf("store row %s: %w", r.ID, err)
		}
		added += n
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("store rows: %w", err)
	}
	return added, nil
}

func rowValues(r Row) ([]any, error) {
	var tools any
	if r.ToolCalls != nil {
		b, err := json.Marshal(r.ToolCalls)
		if err != nil {
			return nil, err
		}
		tools = string(b)
	}
	return []any{
		r.ID, r.RequestedAt.UnixMicro(), r.Project, r.ProjectSource, r.Provider, r.Host, r.Path,
		r.Model, r.Mode, r.Kind, r.Stream, r.Status, r.HTTPStatus, r.ErrorClass,
		r.InputTokens, r.OutputTokens, r.ThinkingTokens,
		r.CacheReadTokens, r.CacheWriteTokens, r.CacheWrite1hTokens, tools,
		r.CostNanoUSD, r.CostReason, r.RatesSource, r.TokensComplete,
		r.LatencyMS, r.FirstByteMS, r.Client,
		orNull(string(r.RawUsage)), orNull(r.Tier), orNull(r.ErrorCode), orNull(r.ResponseID),
		r.ReportedCostNanoUSD, orNull(r.SessionID), orNull(r.AgentID), orNull(string(r.Charges)),
	}, nil
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// scanRow reads the columns of a Row behind those for first.
func scanRow(rows *sql.Rows, first ...any) (r Row, err error) {
	var at int64
	var tools, raw, tier, code, response, session, agent, charges sql.NullString
	err = rows.Scan(append(first,
		&r.ID, &at, &r.Project, &r.ProjectSource, &r.Provider, &r.Host, &r.Path,
		&r.Model, &r.Mode, &r.Kind, &r.Stream, &r.Status, &r.HTTPStatus, &r.ErrorClass,
		&r.InputTokens, &r.OutputTokens, &r.ThinkingTokens,
		&r.CacheReadTokens, &r.CacheWriteTokens, &r.CacheWrite1hTokens, &tools,
		&r.CostNanoUSD, &r.CostReason, &r.RatesSource, &r.TokensComplete,
		&r.LatencyMS, &r.FirstByteMS, &r.Client,
		&raw, &tier, &code, &response,
		&r.ReportedCostNanoUSD, &session, &agent, &charges,
	)...)
	if err != nil {
		return Row{}, err
	}
	r.RequestedAt = time.UnixMicro(at).UTC()
	if tools.Valid {
		if err := json.Unmarshal([]byte(tools.String), &r.ToolCalls); err != nil {
			return Row{}, fmt.Errorf("row %s: tool_calls: %w", r.ID, err)
		}
	}
	if raw.Valid {
		r.RawUsage = []byte(raw.String)
	}
	if charges.Valid {
		r.Charges = []byte(charges.String)
	}
	r.Tier, r.ErrorCode, r.ResponseID = tier.String, code.String, response.String
	r.SessionID, r.AgentID = session.String, agent.String
	return r, nil
}
