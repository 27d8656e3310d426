package ledger

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// Price is a cost that became known after its row was stored.
type Price struct {
	NanoUSD int64
	// Source is what Row.RatesSource will be.
	Source string
}

// Backfill asks price about every row whose cost is not known, and stores
// what it answers with true. A known cost never changes. It works beside a
// daemon; rows that are only in the journal wait for the next time.
func Backfill(ctx context.Context, dir string, price func(Row) (Price, bool)) (priced int64, err error) {
	steps, err := migrations()
	if err != nil {
		return 0, err
	}
	r, err := OpenReader(ctx, dir)
	if err != nil {
		return 0, err
	}
	path := filepath.Join(r.dir, databaseName)
	if !exists(path) {
		return 0, nil
	}
	db, err := attachDatabase(ctx, path, steps, defaultTuning().busy)
	if err != nil {
		return 0, err
	}
	defer db.close()
	batch := map[string]Price{}
	store := func() error {
		began := time.Now()
		n, err := db.setPrices(ctx, batch)
		if err != nil {
			return fmt.Errorf("store prices: %w", err)
		}
		priced += n
		clear(batch)
		return yieldTo(ctx, time.Since(began))
	}
	for row, err := range r.Rows(ctx, Query{Unpriced: true}) {
		if err != nil {
			return priced, err
		}
		if p, ok := price(row); ok {
			batch[row.ID] = p
		}
		if len(batch) == sideRows {
			if err := store(); err != nil {
				return priced, err
			}
		}
	}
	if len(batch) > 0 {
		err = store()
	}
	return priced, err
}

func (d *database) setPrices(ctx context.Context, prices map[string]Price) (changed int64, err error) {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	for id, p := range prices {
		res, err := tx.ExecContext(ctx, `UPDATE requests SET cost_nano_usd = ?, rates_source = ?, cost_reason = NULL
			WHERE id = ? AND cost_nano_usd IS NULL`, p.NanoUSD, fitText(p.Source), id)
		if err != nil {
			return 0, err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return 0, err
		}
		changed += n
	}
	return changed, tx.Commit()
}
