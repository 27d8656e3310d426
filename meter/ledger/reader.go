package ledger

import (
	"context"
	"iter"
	"time"
)

// Query selects rows. The zero Query selects all of them.
type Query struct {
	// Since and Until bound Row.RequestedAt: Since <= t < Until. A zero time
	// is no bound.
	Since, Until time.Time
	// Project is a slug; "" means every project.
	Project string
	// Limit is how many rows Rows yields at most; zero means all. Totals
	// does not look at it.
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
	// YYYY-MM-DD. Provider is set beside a model, whose name alone says not
	// who billed it.
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

// Reader is the reading side.
type Reader struct{ dir string }

// OpenReader opens the ledger in the state directory dir for reading.
func OpenReader(ctx context.Context, dir string) (*Reader, error) { return &Reader{dir: dir}, nil }

// Rows yields the selected rows, oldest first.
func (r *Reader) Rows(ctx context.Context, q Query) iter.Seq2[Row, error] {
	return func(func(Row, error) bool) {}
}

// Totals sums the selected rows.
func (r *Reader) Totals(ctx context.Context, q Query, by By) ([]Total, error) { return nil, nil }

// Last returns the newest row, or nil if there is none.
func (r *Reader) Last(ctx context.Context) (*Row, error) { return nil, nil }

// Close releases the reader.
func (r *Reader) Close() error { return nil }
