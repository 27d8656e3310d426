package ledger

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Query selects rows. The zero Query selects all of them.
type Query struct {
	// Since and Until bound Row.RequestedAt: Since <= t < Until. A zero time
	// is no bound.
	Since, Until time.Time
	// Project is a slug, Provider a provider's name; "" means every one.
	Project, Provider string
	// Unpriced selects only rows whose cost is not known. A call that the
	// provider refused, and that used nothing, is none of them.
	Unpriced bool

	// Newest makes Rows yield the newest row first, not the oldest.
	Newest bool
	// After makes Rows begin behind the row at this Cursor, in its own
	// order; the zero Cursor is the beginning.
	After Cursor
	// Limit is how many rows Rows yields at most; zero means all. Totals and
	// Count look at none of these three.
	Limit int
}

// unpriced is the condition of Query.Unpriced and Total.Unpriced.
const unpriced = "($cost_nano_usd IS NULL AND NOT ($input_tokens IS NULL AND ifnull($http_status, 0) >= 400))"

// where renders the conditions of q.
func (q Query) where() (conditions []string, args []any) {
	add := func(condition string, arg ...any) {
		conditions = append(conditions, condition)
		args = append(args, arg...)
	}
	if !q.Since.IsZero() {
		add("$requested_at >= ?", ceilMicro(q.Since))
	}
	if !q.Until.IsZero() {
		add("$requested_at < ?", ceilMicro(q.Until))
	}
	if q.Project != "" {
		add("$project = ?", q.Project)
	}
	if q.Provider != "" {
		add("$provider = ?", q.Provider)
	}
	if q.Unpriced {
		add(unpriced)
	}
	return conditions, args
}

// ceilMicro rounds a bound up to the resolution of the rows.
func ceilMicro(t time.Time) int64 {
	us := t.UnixMicro()
	if time.UnixMicro(us).Before(t) {
		us++
	}
	return us
}

// Cursor is a place between two rows, for Query.After. It stays good when
// rows come or go, in either order, and may be used again.
type Cursor struct {
	at int64 // microseconds since 1970
	id string
}

// CursorAt is the place of r.
func CursorAt(r Row) Cursor { return Cursor{r.RequestedAt.UnixMicro(), r.ID} }

// String is an opaque text that fits into a URL; "" for the zero Cursor.
func (c Cursor) String() string {
	if c == (Cursor{}) {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(c.at, 10) + " " + c.id))
}

// ErrCursor means that a text is no Cursor of this release.
var ErrCursor = errors.New("cursor is not one that was handed out")

// ParseCursor is the inverse of Cursor.String.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return Cursor{}, ErrCursor
	}
	at, id, found := strings.Cut(string(text), " ")
	us, err := strconv.ParseInt(at, 10, 64)
	if err != nil || !found || id == "" {
		return Cursor{}, ErrCursor
	}
	return Cursor{us, id}, nil
}

// By is what Totals groups by.
type By string

// The groupings of Totals.
const (
	ByProject     By = "project"
	ByModel       By = "model"
	ByProvider    By = "provider"
	ByDay         By = "day" // of Row.RequestedAt, UTC
	ByDayProvider By = "day_provider"
	// ByProjectModel is a project's totals by model.
	ByProjectModel By = "project_model"
)

// Total sums the rows of one group.
type Total struct {
	// Key is the project's slug, the model, the provider, or the day as
	// YYYY-MM-DD. Provider is set beside a model, whose name alone does not
	// say who bills it, and beside a day if that is the grouping; Project
	// is set if the grouping is ByProjectModel.
	Key      string
	Provider string
	Project  string

	Requests int64
	// Failed is how many did not end in success.
	Failed int64
	// Unpriced is how many have no known cost and so are not in CostNanoUSD,
	// without those that the provider refused.
	Unpriced int64
	// Incomplete is how many may lack tokens.
	Incomplete int64

	InputTokens, OutputTokens, ThinkingTokens             int64
	CacheReadTokens, CacheWriteTokens, CacheWrite1hTokens int64

	CostNanoUSD int64
	// Disputed is how many cost otherwise than the provider itself says, by
	// more than rounding, and DisputeNanoUSD what the providers say more
	// (or, negative, less) of them.
	Disputed, DisputeNanoUSD int64
	// Reported is how many have no known cost, but one that the provider
	// says: ReportedNanoUSD, which is not in CostNanoUSD.
	Reported, ReportedNanoUSD int64
	// LastAt is when the newest of them was requested.
	LastAt time.Time
}

// groupings maps a By to its key, what stands beside it, and the order.
var groupings = map[By]struct{ key, provider, project, order string }{
	ByProject:      {"project", "''", "''", "cost DESC, key"},
	ByModel:        {"model", "provider", "''", "cost DESC, key, beside"},
	ByProvider:     {"provider", "''", "''", "cost DESC, key"},
	ByDay:          {day, "''", "''", "key"},
	ByDayProvider:  {day, "provider", "''", "key, beside"},
	ByProjectModel: {"model", "provider", "project", "owner, cost DESC, key, beside"},
}

const day = "date(requested_at / 1000000, 'unixepoch')"

// Project is one project of the ledger.
type Project struct {
	ID, Slug, Name string
	CreatedAt      time.Time
	// ArchivedAt is nil unless the project is archived.
	ArchivedAt *time.Time
}
