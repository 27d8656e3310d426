package ledger_test

import (
	"context"
	"fmt"
	"log"
	"os"
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

func ExampleCheck() {
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
	rep, err := ledger.Check(ctx, dir, false)
	if err != nil {
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
