package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"
)

// verifyShare bounds what verify costs: it rests so many times as long as it
// worked.
const verifyShare = 100

// verify checks the database while it is open, whenever its file has changed.
// SQLite does not look at a page again that it has in memory, so a file that
// somebody damages would go unnoticed until the next start, and its backups
// with it. The writer changes the file only now and then: rows go to the
// write-ahead log first.
func (l *Ledger) verify(ctx context.Context) {
	var seen time.Time
	for wait := l.t.verifyEvery; l.awaitReady(ctx) == nil; {
		st, err := os.Stat(l.path)
		if err == nil && !seen.IsZero() && !st.ModTime().Equal(seen) {
			began := time.Now()
			if err := checkFile(ctx, l.path); isCorrupt(err) {
				l.log.Error("ledger.database.corrupt", "error", err)
				l.mu.Lock()
				l.doubt = fmt.Errorf("%w: %w", errDoubt, err)
				l.mu.Unlock()
				l.signal()
			}
			wait = max(l.t.verifyEvery, verifyShare*time.Since(began))
		}
		if err == nil {
			// The state from before the check: what changed during it counts.
			seen = st.ModTime()
		}
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

// errDoubt makes the writer open the database anew, which checks it.
var errDoubt = errors.New("database is in doubt")

// checkFile is quick_check over a connection of its own.
func checkFile(ctx context.Context, path string) (err error) {
	v, err := connect(ctx, dsn(path, url.Values{"mode": {"ro"}}, "busy_timeout(5000)", "trusted_schema(0)"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	return check(ctx, v.db, "quick_check")
}
