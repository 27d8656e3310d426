package tap_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/provider"
	"github.com/haltonlabs/halton-meter/meter/tap"
)

// What the client says of itself stands in the request's header and in its
// body, compressed or not, and is in the record also if there is no response.
func TestOrigin(t *testing.T) {
	const said = `{"system":"Primary working directory: /w/shop\n","model":"m"}`
	want := provider.Origin{SessionID: "s-1", Dir: "/w/shop"}
	for _, coding := range codings {
		encoding, data := compress(coding, []byte(said))
		h := header("application/json", encoding)
		h.Set("User-Agent", "claude-cli/2")
		h.Set("X-Claude-Code-Session-Id", "s-1")
		x := exchange{reqHeader: h, req: io.NopCloser(bytes.NewReader(data)), outcome: tap.ClientAborted}
		if rec, _ := x.pass(t); rec.Origin != want {
			t.Errorf("%s: got %+v", coding, rec.Origin)
		}
	}
	x := exchange{reqHeader: header(""), req: io.NopCloser(strings.NewReader(said))}
	if rec, _ := x.pass(t); rec.Origin != (provider.Origin{}) {
		t.Errorf("of no known client: %+v", rec.Origin)
	}
}

// The relay may change the header once the flow has seen it.
func TestOriginKeepsNoHeader(t *testing.T) {
	tp, records := newTap(&recorder{})
	h := http.Header{"User-Agent": {"codex_exec/0.169.0"}, "Thread-Id": {"t-1"}}
	f := tp.Start(tap.Exchange{})
	f.Request(h, nil)
	clear(h)
	f.End(tap.Completed, nil)
	noErr(t, tp.Flush(context.Background()))
	if rec := <-records; rec.Origin.SessionID != "t-1" {
		t.Errorf("got %+v", rec.Origin)
	}
}

// On a WebSocket the handshake names the client, and each message may say more.
func TestSocketOrigin(t *testing.T) {
	r := newSocketRig(responses, "", bounds{})
	begin := func() tap.Exchange { return tap.Exchange{ID: "x", Endpoint: responses} }
	f := r.tap.Start(begin())
	f.Request(http.Header{"User-Agent": {"codex_exec/0.169.0"}, "Thread-Id": {"t-1"}}, nil)
	r.socket = f.Upgrade(nil, r.wire, begin)
	const where = `"client_metadata":{"x-codex-turn-metadata":"{\"session_id\":\"t-1\",\"thread_id\":\"t-2\",\"workspaces\":{\"/w/shop\":{}}}"}`
	r.pass(client(create), completed("r1"), client(strings.Replace(create, `"input"`, where+`,"input"`, 1)), completed("r2"))
	r.finish(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	var got []provider.Origin
	for _, rec := range r.records {
		got = append(got, rec.Origin)
	}
	check(t, "origins", got, []provider.Origin{{SessionID: "t-1"}, {SessionID: "t-1", AgentID: "t-2", Dir: "/w/shop"}})
}
