// Package ledger stores one row for every metered exchange and loses none.
//
// An exchange is written three times. [Ledger.Begin] appends its [Opening] to
// a journal before it is forwarded, [Ledger.Finish] appends its [Row], and a
// goroutine moves rows in batches to an SQLite database. Each journal record
// is one write(2), so whatever kills the process, the next [Open] finds it:
// rows that finished are stored, and an exchange that was only opened becomes
// a row with the status "unknown". Writes are idempotent by the row's id.
//
//	l, err := ledger.Open(ctx, ledger.Config{Dir: stateDir})
//	...
//	id := ledger.NewID()
//	l.Begin(ledger.Opening{ID: id, RequestedAt: time.Now()})
//	// forward the exchange
//	l.Finish(ledger.Row{ID: id, RequestedAt: started, Status: "success"})
//	...
//	err = l.Close(ctx)
//
// # When storage fails
//
// Begin and Finish never wait for the database, whether it is locked, full,
// corrupt or still migrating: the journal grows and is stored later. A corrupt
// database is renamed, never deleted, a new one takes its place, and what can
// be read of the old one is brought into it; [Recover] does that too. On a full
// disk the journal writes into a reserve that it allocated before, and the
// database is left alone; then rows stay in memory, bounded; when that fills up
// too, [Ledger.Storable] says so. All of it is tried again without being asked,
// and [Ledger.Status] tells.
//
// # Reading
//
// [Reader] works beside a daemon and without one, and sees what still lies in
// the journal. Times have a resolution of a microsecond and are UTC.
//
// # Upkeep
//
// [Check], [Backup], [Recover] and [Backfill] work beside a daemon and without
// one; those that write do so in transactions of some milliseconds. So does
// the deletion of rows older than Config.KeepDays. It frees pages for later
// rows, and the file does not shrink.
//
// # What it does not do
//
// It does not lock the directory against a second writer. That one corrupts
// nothing and keeps to its own journal, but the caller should refuse it. It
// stores no prompt, header or key, because Row has no field for one.
package ledger
