package meter_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/haltonlabs/halton-meter/internal/reserved"
)

// The self-test takes the way of a metered call, reaches no provider and
// leaves no row.
func TestTheSelfTestIsAnsweredHere(t *testing.T) {
	w := newWorld(t)
	w.start()
	resp, err := w.client().Get("https://" + reserved.Metered + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || string(body) != "metered\n" {
		t.Fatalf("%s %q, %v", resp.Status, body, err)
	}
	if err := w.wait(); err != nil {
		t.Fatal(err)
	}
	if rows := w.rows(); len(rows) != 0 {
		t.Errorf("rows: %+v", rows)
	}
	// Without the daemon the name leads nowhere.
	if resp, err := w.client().Get("https://" + reserved.Metered + "/"); err == nil {
		resp.Body.Close()
		t.Errorf("answered with the daemon down: %s", resp.Status)
	}
}
