package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// view is one look at the ledger: a connection to the database, with the rows
// that only the journal has in a temporary table beside it.
type view struct {
	db *sql.DB
	// lacks are the columns that an older release's database does not have:
	// a program is upgraded before the daemon that migrates.
	lacks map[string]bool
}

func (r *Reader) view(ctx context.Context) (*view, error) {
	// The journal first. A row moves from there to the database, so in this
	// order it is seen at least once; the query takes care of "at most".
	journaled, err := journaledRows(filepath.Join(r.dir, journalName))
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	v, err := openView(ctx, filepath.Join(r.dir, databaseName))
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if err := v.overlay(ctx, journaled); err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger: %w", err), v.close())
	}
	return v, nil
}

// journaledRows returns the rows in the journal, the last one of each id.
func journaledRows(dir string) ([]Row, error) {
	paths, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, path := range paths {
		_, err := readSegment(path, func(k kind, payload []byte) {
			if k != kindRow {
				return
			}
			// What is damaged is the replay's to report.
			if row, err := decodeRow(payload); err == nil {
				rows = append(rows, row)
			}
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return rows, nil
}

func openView(ctx context.Context, path string) (*view, error) {
	_, err := os.Stat(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return nil, err
	}
	if !missing {
		if err := regular(path); err != nil {
			return nil, err
		}
		v, err := connect(ctx, readDSN(path))
		if err != nil {
			return nil, err
		}
		version, err := schemaVersion(ctx, v.db)
		switch steps, stepsErr := migrations(); {
		case err != nil || stepsErr != nil:
			return nil, errors.Join(err, stepsErr, v.close())
		case version > len(steps):
			return nil, errors.Join(ErrNewerSchema, v.close())
		case version > 0:
			v.lacks, err = lackingColumns(ctx, v.db)
			if err != nil {
				return nil, errors.Join(err, v.close())
			}
			return v, nil
		}
		// A daemon is just making it.
		if err := v.close(); err != nil {
			return nil, err
		}
	}
	v, err := connect(ctx, ":memory:")
	if err != nil {
		return nil, err
	}
	steps, err := migrations()
	if err == nil {
		err = migrate(ctx, v.db, steps, nil)
	}
	if err != nil {
		return nil, errors.Join(err, v.close())
	}
	return v, nil
}

// lackingColumns returns the columns of a Row that the table of db lacks.
func lackingColumns(ctx context.Context, db *sql.DB) (map[string]bool, error) {
	lacks := map[string]bool{}
	for _, c := range columns {
		lacks[c] = c != "project"
	}
	rows, err := db.QueryContext(ctx, "SELECT name FROM pragma_table_info('requests')")
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("read schema: %w", err)
		}
		delete(lacks, name)
	}
	return lacks, rows.Err()
}

func readDSN(path string) string {
	params := url.Values{"mode": {"ro"}}
	if !exists(path+"-wal") && !exists(path+"-shm") {
		// Nobody has it open. SQLite would now make both files, and as a
		// read-only connection leave them behind.
		params.Set("immutable", "1")
	}
	return dsn(path, params, "busy_timeout(5000)", "temp_store(MEMORY)", "trusted_schema(0)")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func connect(ctx context.Context, dsn string) (*view, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	// A temporary table belongs to its connection, as does ":memory:".
	db.SetMaxOpenConns(1)
	v := &view{db: db}
	if err := checkVersion(ctx, db); err != nil {
		return nil, errors.Join(err, v.close())
	}
	return v, nil
}

func (v *view) close() error { return v.db.Close() }

// selectRows selects from the database and, for what it lacks, the journal.
// Conditions name a column as "$column". They stand in both halves, because
// then SQLite merges these by their indexes; around them, it would sort all.
func (v *view) selectRows(conditions []string, args []any) (query string, doubled []any) {
	stored := make([]string, len(columns))
	for i, c := range columns {
		switch {
		case c == "project":
			stored[i] = "p.slug AS project"
		case v.lacks[c]:
			stored[i] = "NULL AS " + c
		default:
			stored[i] = "r." + c
		}
	}
	where := strings.Join(append(conditions, "true"), " AND ")
	query = "SELECT " + strings.Join(stored, ", ") +
		" FROM main.requests r JOIN main.projects p ON p.id = r.project_id WHERE " +
		strings.NewReplacer("$project", "p.slug", "$", "r.").Replace(where) +
		" UNION ALL SELECT " + strings.Join(columns, ", ") +
		" FROM temp.journaled j WHERE " + strings.ReplaceAll(where, "$", "j.") +
		" AND NOT EXISTS (SELECT 1 FROM main.requests r WHERE r.id = j.id)"
	return query, append(slices.Clone(args), args...)
}

// overlay puts the rows of the journal into the temporary table.
func (v *view) overlay(ctx context.Context, rows []Row) error {
	tx, err := v.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	create := "CREATE TEMP TABLE journaled (" + strings.Join(columns, ", ") + ", PRIMARY KEY (id))"
	if _, err := tx.ExecContext(ctx, create); err != nil {
		return err
	}
	if len(rows) > 0 {
		insert, err := tx.PrepareContext(ctx, "INSERT OR IGNORE INTO temp.journaled VALUES (?"+
			strings.Repeat(", ?", len(columns)-1)+")")
		if err != nil {
			return err
		}
		defer insert.Close()
		for _, r := range rows {
			values, err := rowValues(r)
			if err != nil {
				return err
			}
			if _, err := insert.ExecContext(ctx, values...); err != nil {
				return err
			}
		}
	}
	return tx.Commit()
}

// page returns the first n rows of q.
func (v *view) page(ctx context.Context, q Query, n int) ([]Row, error) {
	conditions, args := q.where()
	after, order := ">", "requested_at, id"
	if q.Newest {
		after, order = "<", "requested_at DESC, id DESC"
	}
	if q.After != (Cursor{}) {
		conditions = append(conditions, "($requested_at, $id) "+after+" (?, ?)")
		args = append(args, q.After.at, q.After.id)
	}
	query, args := v.selectRows(conditions, args)
	return v.rows(ctx, query+" ORDER BY "+order+" LIMIT ?", append(args, n)...)
}

func (v *view) rows(ctx context.Context, query string, args ...any) (_ []Row, err error) {
	rows, err := v.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var list []Row
	for rows.Next() {
		r, err := scanRow(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// disputed is true of a row whose cost and the provider's own are not the same
// one, rounded twice.
const disputed = "abs(reported_cost_nano_usd - cost_nano_usd) > 1"

func (v *view) totals(ctx context.Context, q Query, by By) ([]Total, error) {
	g, ok := groupings[by]
	if !ok {
		return nil, fmt.Errorf("group totals by %q: unknown grouping", by)
	}
	from, args := v.selectRows(q.where())
	rows, err := v.db.QueryContext(ctx, "SELECT "+g.key+" AS key, "+g.provider+" AS beside, "+g.project+` AS owner,
		count(*), sum(status <> 'success'), sum(`+strings.ReplaceAll(unpriced, "$", "")+`), sum(NOT tokens_complete),
		ifnull(sum(input_tokens), 0), ifnull(sum(output_tokens), 0), ifnull(sum(thinking_tokens), 0),
		ifnull(sum(cache_read_tokens), 0), ifnull(sum(cache_write_tokens), 0), ifnull(sum(cache_write_1h_tokens), 0),
		ifnull(sum(cost_nano_usd), 0) AS cost,
		ifnull(sum(`+disputed+`), 0), ifnull(sum((reported_cost_nano_usd - cost_nano_usd) * (`+disputed+`)), 0),
		sum(cost_nano_usd IS NULL AND reported_cost_nano_usd IS NOT NULL),
		ifnull(sum(reported_cost_nano_usd * (cost_nano_usd IS NULL)), 0), max(requested_at)
		FROM (`+from+") GROUP BY 1, 2, 3 ORDER BY "+g.order, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var totals []Total
	for rows.Next() {
		var t Total
		var last int64
		if err := rows.Scan(&t.Key, &t.Provider, &t.Project, &t.Requests, &t.Failed, &t.Unpriced, &t.Incomplete,
			&t.InputTokens, &t.OutputTokens, &t.ThinkingTokens,
			&t.CacheReadTokens, &t.CacheWriteTokens, &t.CacheWrite1hTokens, &t.CostNanoUSD,
			&t.Disputed, &t.DisputeNanoUSD, &t.Reported, &t.ReportedNanoUSD, &last); err != nil {
			return nil, err
		}
		t.LastAt = time.UnixMicro(last).UTC()
		totals = append(totals, t)
	}
	return totals, rows.Err()
}

func (v *view) projects(ctx context.Context) ([]Project, error) {
	rows, err := v.db.QueryContext(ctx, "SELECT id, slug, name, created_at, archived_at FROM main.projects ORDER BY slug")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var projects []Project
	for rows.Next() {
		var p Project
		var created int64
		var archived *int64
		if err := rows.Scan(&p.ID, &p.Slug, &p.Name, &created, &archived); err != nil {
			return nil, err
		}
		p.CreatedAt = time.UnixMicro(created).UTC()
		if archived != nil {
			at := time.UnixMicro(*archived).UTC()
			p.ArchivedAt = &at
		}
		projects = append(projects, p)
	}
	return projects, rows.Err()
}
