package ledger_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/haltonlabs/halton-meter/meter/ledger"
)

// stateDir makes a directory for an example.
func stateDir() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "ledger")
	if err != nil {
		log.Fatal(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

func ExampleLedger() {
	dir, remove := stateDir()
	defer remove()
	ctx := context.Background()
	l, err := ledger.Open(ctx, ledger.Config{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}

	id, at := ledger.NewID(), time.Now()
	if err := l.Begin(ledger.Opening{ID: id, RequestedAt: at, Project: "shop"}); err != nil {
		log.Print(err) // and forward the exchange all the same
	}
	cost := int64(1_250_000)
	err = l.Finish(ledger.Row{
		ID: id, RequestedAt: at, Project: "shop", Provider: "openai", Model: "gpt-5",
		Status: "success", CostNanoUSD: &cost, TokensComplete: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("storable:", l.Storable())
	fmt.Println("closed:", l.Close(ctx))
	// Output:
	// storable: <nil>
	// closed: <nil>
}

func ExampleReader() {
	dir, remove := stateDir()
	defer remove()
	ctx := context.Background()
	l, err := ledger.Open(ctx, ledger.Config{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	for hour, cost := range []int64{250_000, 1_000_000} {
		at := time.Date(2026, 11, 23, hour, 0, 0, 0, time.UTC)
		err := l.Finish(ledger.Row{
			ID: ledger.NewID(), RequestedAt: at, Project: "shop", Status: "success", CostNanoUSD: &cost,
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	if err := l.Close(ctx); err != nil {
		log.Fatal(err)
	}

	r, err := ledger.OpenReader(ctx, dir)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	for row, err := range r.Rows(ctx, ledger.Query{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(row.RequestedAt.Format(time.TimeOnly), *row.CostNanoUSD)
	}
	for _, by := range []ledger.By{ledger.ByProject, ledger.ByDay} {
		var totals []ledger.Total
		if totals, err = r.Totals(ctx, ledger.Query{Project: "shop"}, by); err != nil {
			log.Fatal(err)
		}
		fmt.Println(totals[0].Key, totals[0].Requests, totals[0].CostNanoUSD)
	}
	// Output:
	// 00:00:00 250000
	// 01:00:00 1000000
	// shop 2 1250000
	// 2026-11-23 2 1250000
}

func ExampleReport() {
	dir, remove := stateDir()
	defer remove()
	ctx := context.Background()
	l, err := ledger.Open(ctx, ledger.Config{Dir: dir, KeepDays: 90})
	if err != nil {
		log.Fatal(err)
	}
	if err := l.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	var rep ledger.Report
	if rep, err = ledger.Check(ctx, dir, false); err != nil {
		log.Fatal(err)
	}
	fmt.Println("rows", rep.Rows, "in use", rep.InUse, "problem", rep.Err)
	if err := l.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: rows 0 in use true problem <nil>
}

func ExampleCursor() {
	dir, remove := stateDir()
	defer remove()
	ctx := context.Background()
	l, err := ledger.Open(ctx, ledger.Config{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := l.Finish(ledger.Row{ID: id, RequestedAt: time.Unix(0, 0)}); err != nil {
			log.Fatal(err)
		}
	}
	r, err := ledger.OpenReader(ctx, dir)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	next := "" // what a client sends back
	for range 2 {
		after, err := ledger.ParseCursor(next)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("page")
		for row, err := range r.Rows(ctx, ledger.Query{Newest: true, Limit: 2, After: after}) {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(row.ID)
			next = ledger.CursorAt(row).String()
		}
	}
	if err := l.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// page
	// c
	// b
	// page
	// a
}

// What a release before this one could not price gets its price later.
func ExamplePrice() {
	dir, remove := stateDir()
	defer remove()
	ctx := context.Background()
	l, err := ledger.Open(ctx, ledger.Config{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	if err := l.Finish(ledger.Row{ID: "a", RequestedAt: time.Unix(0, 0), Model: "brand-new"}); err != nil {
		log.Fatal(err)
	}
	if err := l.Close(ctx); err != nil {
		log.Fatal(err)
	}
	priced, err := ledger.Backfill(ctx, dir, func(r ledger.Row) (ledger.Price, bool) {
		return ledger.Price{NanoUSD: 1_500_000, Source: "override"}, r.Model == "brand-new"
	})
	fmt.Println(priced, err)
	// Output: 1 <nil>
}

// A database that the disk has damaged gives back what can be read of it.
func ExampleRecovery() {
	dir, remove := stateDir()
	defer remove()
	ctx := context.Background()
	l, err := ledger.Open(ctx, ledger.Config{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	if err := l.Finish(ledger.Row{ID: "a", RequestedAt: time.Unix(0, 0)}); err != nil {
		log.Fatal(err)
	}
	if err := l.Close(ctx); err != nil {
		log.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "db.sqlite"), os.O_WRONLY, 0)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("no longer a header"), 0); err != nil {
		log.Fatal(err)
	}
	if err := f.Close(); err != nil {
		log.Fatal(err)
	}

	var done []ledger.Recovery
	if done, err = ledger.Recover(ctx, dir); err != nil {
		log.Fatal(err)
	}
	fmt.Println(done[0].Found, "of", done[0].Expected)
	rep, err := ledger.Check(ctx, dir, true)
	if err != nil {
		log.Fatal(err)
	}
	var aside []ledger.SetAside = rep.SetAside
	fmt.Println(len(aside), "set aside,", aside[0].Recovery.Added, "row brought back")
	// Output:
	// 1 of 1
	// 1 set aside, 1 row brought back
}
