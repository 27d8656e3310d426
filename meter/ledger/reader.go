package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
)

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

// Rows yields the selected rows, oldest first unless Query.Newest. An error
// ends them. Rows that finish meanwhile may or may not be among them.
func (r *Reader) Rows(ctx context.Context, q Query) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		v, err := r.view(ctx)
		if err != nil {
			yield(Row{}, err)
			return
		}
		defer v.close()
		for left := q.Limit; q.Limit <= 0 || left > 0; left -= pageRows {
			n := pageRows
			if q.Limit > 0 {
				n = min(n, left)
			}
			page, err := v.page(ctx, q, n)
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
			q.After = CursorAt(page[n-1])
		}
	}
}

// Last returns the newest row, or nil if there is none.
func (r *Reader) Last(ctx context.Context) (*Row, error) {
	for row, err := range r.Rows(ctx, Query{Newest: true, Limit: 1}) {
		if err != nil {
			return nil, err
		}
		return &row, nil
	}
	return nil, nil
}

// Row returns the row with the given id, or nil if there is none.
func (r *Reader) Row(ctx context.Context, id string) (_ *Row, err error) {
	v, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	query, args := v.selectRows([]string{"$id = ?"}, []any{id})
	rows, err := v.rows(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read row %s: %w", id, err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return &rows[0], nil
}

// Counted reports whether a row has the tokens of a provider's response.
func (r *Reader) Counted(ctx context.Context, provider, responseID string) (found bool, err error) {
	v, err := r.view(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	query, args := v.selectRows(countedIn, []any{responseID, provider})
	if err := v.db.QueryRowContext(ctx, "SELECT EXISTS ("+query+")", args...).Scan(&found); err != nil {
		return false, fmt.Errorf("look for response: %w", err)
	}
	return found, nil
}

// countedIn has a plus where SQLite should not take an index: half of all rows
// may be of one provider.
var countedIn = []string{"$response_id = ?", "+$provider = ?", "$input_tokens IS NOT NULL"}

// Count returns how many rows are selected, whatever q.Limit is.
func (r *Reader) Count(ctx context.Context, q Query) (n int64, err error) {
	v, err := r.view(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	from, args := v.selectRows(q.where())
	if err := v.db.QueryRowContext(ctx, "SELECT count(*) FROM ("+from+")", args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count rows: %w", err)
	}
	return n, nil
}

// Projects returns the projects by slug. One whose first row is only in the
// journal has no id yet, and is not among them.
func (r *Reader) Projects(ctx context.Context) (_ []Project, err error) {
	v, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	projects, err := v.projects(ctx)
	if err != nil {
		return nil, fmt.Errorf("read projects: %w", err)
	}
	return projects, nil
}

// Totals sums the selected rows in groups, the costliest first; by day, the
// oldest first, and by project and model, the projects by name.
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
