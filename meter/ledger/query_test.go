package ledger

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Pages of any size, in either order, give every row once, wherever it lies.
func TestPages(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir}, quick())
	var all []string
	for i := range 60 {
		r := row(fmt.Sprintf("%02d", i), i/3) // three at the same time
		if i == 30 {
			must(t, l.Flush(t.Context()))
			l.stop()
			l.work.Wait()
		}
		must(t, l.Finish(r))
		all = append(all, r.ID)
	}
	crash(l)
	r, err := OpenReader(t.Context(), dir)
	must(t, err)
	for _, q := range []Query{{Limit: 7}, {Limit: 7, Newest: true}, {Limit: 20, Newest: true}, {Limit: 100}} {
		var got []string
		for n := q.Limit; n == q.Limit; {
			n = 0
			for row, err := range r.Rows(t.Context(), q) {
				must(t, err)
				got = append(got, row.ID)
				q.After = CursorAt(row)
				n++
			}
			q.After, err = ParseCursor(q.After.String())
			must(t, err)
		}
		if q.Newest {
			slices.Reverse(got)
		}
		if !slices.Equal(got, all) {
			t.Errorf("pages of %d give %v", q.Limit, got)
		}
	}
}

func TestParseCursor(t *testing.T) {
	if c, err := ParseCursor(""); c != (Cursor{}) || err != nil {
		t.Errorf("nothing is %v, %v; want the zero Cursor", c, err)
	}
	for _, s := range []string{"x", "!", "MTIz", "YSBi", strings.Repeat("A", 100)} {
		if c, err := ParseCursor(s); !errors.Is(err, ErrCursor) {
			t.Errorf("%q is %v, %v; want ErrCursor", s, c, err)
		}
	}
}

func TestSelections(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir}, quick())
	docs := fullRow("docs")
	docs.Project = "docs"
	free := row("free", 1)
	free.CostNanoUSD = nil
	refused := row("refused", 3)
	refused.Status, refused.HTTPStatus, refused.CostNanoUSD = "error", ptr(429), nil
	refused.InputTokens, refused.OutputTokens = nil, nil
	for _, r := range []Row{docs, free, row("shop", 2), refused} {
		must(t, l.Finish(r))
	}
	must(t, l.Close(t.Context()))
	for _, c := range []struct {
		q    Query
		want []string
	}{
		{Query{Provider: "anthropic"}, []string{"docs"}},
		{Query{Provider: "openai", Project: "shop"}, []string{"free", "shop", "refused"}},
		{Query{Provider: "openai", Project: "docs"}, nil},
		{Query{Unpriced: true}, []string{"free"}},
		{Query{Newest: true, Limit: 2}, []string{"refused", "shop"}},
	} {
		if got := ids(readAll(t, dir, c.q)); !slices.Equal(got, c.want) {
			t.Errorf("%+v gives %v, want %v", c.q, got, c.want)
		}
	}
	r, err := OpenReader(t.Context(), dir)
	must(t, err)
	if n, err := r.Count(t.Context(), Query{Provider: "openai", Limit: 1}); n != 3 || err != nil {
		t.Errorf("Count = %d, %v; want 3", n, err)
	}
	totals, err := r.Totals(t.Context(), Query{Provider: "openai"}, ByProvider)
	must(t, err)
	if len(totals) != 1 || totals[0].Requests != 3 || totals[0].Failed != 1 || totals[0].Unpriced != 1 {
		t.Errorf("totals %+v", totals)
	}
	got, err := r.Row(t.Context(), "docs")
	must(t, err)
	if diff := cmp.Diff(&docs, got); diff != "" {
		t.Errorf("row by id (-want +got):\n%s", diff)
	}
	if got, err := r.Row(t.Context(), "none"); got != nil || err != nil {
		t.Errorf("a row that is not there is %v, %v; want nil, nil", got, err)
	}
	projects, err := r.Projects(t.Context())
	must(t, err)
	if len(projects) != 2 || projects[0].Slug != "docs" || projects[1].Slug != "shop" ||
		len(projects[0].ID) != 36 || !projects[0].CreatedAt.Equal(start) || projects[0].ArchivedAt != nil {
		t.Errorf("projects %+v", projects)
	}
	var keys []string
	for _, by := range []By{ByDayProvider, ByProjectModel} {
		totals, err := r.Totals(t.Context(), Query{}, by)
		must(t, err)
		for _, total := range totals {
			keys = append(keys, fmt.Sprint(total.Project, " ", total.Key, " ", total.Provider, " ", total.Requests))
		}
	}
	want := []string{
		" 2026-11-23 anthropic 1", " 2026-11-23 openai 3",
		"docs claude-sonnet-4-6 anthropic 1", "shop gpt-5 openai 3",
	}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
}

// A page must cost the same at the end of a large ledger as at its start.
func TestPagesFollowAnIndex(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 1)
	v, err := openView(t.Context(), filepath.Join(dir, databaseName))
	must(t, err)
	defer v.close()
	must(t, v.overlay(t.Context(), nil))
	for _, q := range []Query{{}, {Newest: true}, {Newest: true, Provider: "openai"}, {Newest: true, Project: "shop"}} {
		conditions, args := q.where()
		order := "requested_at, id"
		if q.Newest {
			order = "requested_at DESC, id DESC"
		}
		query, args := v.selectRows(conditions, args)
		plan := explain(t, v, query+" ORDER BY "+order, args)
		half, _, _ := strings.Cut(plan, "RIGHT")
		if !strings.Contains(half, "USING INDEX requests_by_") || strings.Contains(half, "TEMP B-TREE") {
			t.Errorf("%+v sorts:\n%s", q, plan)
		}
	}
	query, args := v.selectRows(countedIn, []any{"resp_1", "openai"})
	if plan := explain(t, v, query, args); !strings.Contains(plan, "USING INDEX requests_by_response") {
		t.Errorf("a response is looked for without its index:\n%s", plan)
	}
}

func explain(t *testing.T, v *view, query string, args []any) string {
	t.Helper()
	rows, err := v.db.Query("EXPLAIN QUERY PLAN "+query, args...)
	must(t, err)
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		must(t, rows.Scan(&id, &parent, &unused, &detail))
		plan = append(plan, detail)
	}
	must(t, errors.Join(rows.Err(), rows.Close()))
	return strings.Join(plan, "\n")
}

// A response is found in the journal and in the database, of its provider
// only, and only if its tokens are known.
func TestCounted(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir}, quick())
	queued, done := row("queued", 0), row("done", 1)
	queued.ResponseID, queued.InputTokens = "resp_1", nil
	done.ResponseID = "resp_1"
	r, err := OpenReader(t.Context(), dir)
	must(t, err)
	counted := func(provider string, want bool) {
		t.Helper()
		if got, err := r.Counted(t.Context(), provider, "resp_1"); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", provider, got, err, want)
		}
	}
	must(t, l.Finish(queued))
	counted("openai", false)
	must(t, l.Finish(done))
	counted("openai", true)
	counted("azure", false)
	must(t, l.Close(t.Context()))
	counted("openai", true)
}

// The database of every earlier release can be read before it is migrated,
// and migrates without the loss of a row.
func TestEarlierSchemas(t *testing.T) {
	steps, err := migrations()
	must(t, err)
	for version := 1; version < len(steps); version++ {
		dir := t.TempDir()
		path := filepath.Join(dir, databaseName)
		db, err := connect(t.Context(), dsn(path, nil))
		must(t, err)
		must(t, migrate(t.Context(), db.db, steps[:version], nil))
		_, err = db.db.Exec(`INSERT INTO projects VALUES ('p', 'shop', 'shop', 0, NULL);
			INSERT INTO requests (id, project_id, requested_at, project_source, provider, host, path, model, mode,
				kind, stream, status, tokens_complete, client, response_id)
			VALUES ('old', 'p', 1, 'proxy_url', 'openai', 'h', '/', 'gpt-5', 'standard', 'chat', 0, 'success', 1, 'c', 'r')`)
		must(t, errors.Join(err, db.close()))
		check := func() {
			t.Helper()
			got := readAll(t, dir, Query{})
			if len(got) != 1 || got[0].ID != "old" || got[0].ResponseID != "r" || got[0].SessionID != "" {
				t.Errorf("schema %d: rows %+v", version, got)
			}
		}
		check()
		l := mustOpen(t, Config{Dir: dir}, quick())
		must(t, l.Finish(fullRow("new")))
		must(t, l.Close(t.Context()))
		rows := readAll(t, dir, Query{Newest: true})
		if len(rows) != 2 || rows[0].SessionID != "s-1" {
			t.Errorf("schema %d migrated: rows %+v", version, rows)
		}
	}
}
