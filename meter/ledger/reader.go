package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"time"
)

// Query selects rows. The zero Query selects all of them.
type Query struct {
	// Since and Until bound Row.RequestedAt: Since <= t < Until. A zero time
	// is no bound.
	Since, Until time.Time
	// Project is a slug; "" means every project.
	Project string
	// Limit is how many rows Rows yields at most, the oldest ones; zero
	// means all. Totals does not look at it.
	Limit int
}

// By is what Totals groups by.
type By string

// The groupings of Totals.
const (
	ByProject  By = "project"
	ByModel    By = "model"
	ByProvider By = "provider"
	ByDay      By = "day" // of Row.RequestedAt, UTC
)

// Total sums the rows of one group.
type Total struct {
	// Key is the project's slug, the model, the provider, or the day as
	// YYYY-MM-DD. Provider is set beside a model: its name alone does not
	// say who bills it.
	Key      string
	Provider string

	Requests int64
	// Failed is how many did not end in success.
	Failed int64
	// Unpriced is how many have no known cost and so are not in CostNanoUSD.
	Unpriced int64
	// Incomplete is how many may lack tokens.
	Incomplete int64

	InputTokens, OutputTokens, ThinkingTokens             int64
	CacheReadTokens, CacheWriteTokens, CacheWrite1hTokens int64

	CostNanoUSD int64
	// LastAt is when the newest of them was requested.
	LastAt time.Time
}

// Reader is the reading side of the ledger. It works beside a daemon and
// without one, creates no database and changes no row. Rows that finished but
// did not reach the database are read from the journal; exchanges that are
// only open are not rows yet. Its methods may be called from any goroutine.
type Reader struct{ dir string }

// OpenReader opens the ledger in the state directory dir for reading. A
// missing database or directory is an empty ledger. Every call on the Reader
// looks at the files anew, so it follows a database that is replaced.
func OpenReader(ctx context.Context, dir string) (*Reader, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	r := &Reader{dir: dir}
	// What cannot be read should be said now, not in the middle of an export.
	v, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	return r, v.close()
}

// Close releases the reader.
func (r *Reader) Close() error { return nil }

// pageRows is how many rows one read transaction fetches: a reader that is
// slow to take them must not keep the write-ahead log from being reset.
const pageRows = 1000

// Rows yields the selected rows, oldest first. An error ends them. Rows that
// finish meanwhile may or may not be among them.
func (r *Reader) Rows(ctx context.Context, q Query) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		v, err := r.view(ctx)
		if err != nil {
			yield(Row{}, err)
			return
		}
		defer v.close()
		var after *Row
		for left := q.Limit; q.Limit <= 0 || left > 0; left -= pageRows {
			n := pageRows
			if q.Limit > 0 {
				n = min(n, left)
			}
			page, err := v.page(ctx, q, after, n)
			if err != nil {
				yield(Row{}, fmt.Errorf("read ledger: %w", err))
				return
			}
			for _, row := range page {
				if !yield(row, nil) {
					return
				}
			}
			if len(page) < n {
				return
			}
			after = &page[n-1]
		}
	}
}

// Last returns the newest row, or nil if there is none.
func (r *Reader) Last(ctx context.Context) (_ *Row, err error) {
	v, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	query, _ := selectRows(nil, nil)
	rows, err := v.rows(ctx, query+" ORDER BY requested_at DESC, id DESC LIMIT 1")
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return &rows[0], nil
}

// Totals sums the selected rows in groups, the costliest first; by day, the
// oldest first.
func (r *Reader) Totals(ctx context.Context, q Query, by By) (_ []Total, err error) {
	v, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	totals, err := v.totals(ctx, q, by)
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	return totals, nil
}
