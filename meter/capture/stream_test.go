package capture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/haltonlabs/halton-meter/meter/tap"
)

// TestStream: the client has an event before the provider sends the next one.
func TestStream(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		next := make(chan struct{})
		r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			http.NewResponseController(w).Flush() // the head alone
			for n := range 5 {
				<-next
				fmt.Fprintf(w, "data: %d\n\n", n)
				http.NewResponseController(w).Flush()
			}
		})
		res, err := r.client(t, major).Do(newRequest(t, "POST", metered, strings.NewReader("{}")))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		lines := bufio.NewReader(res.Body)
		for n := range 5 {
			next <- struct{}{}
			line, err := lines.ReadString('\n')
			if want := fmt.Sprintf("data: %d\n", n); line != want || err != nil {
				t.Fatalf("got %q, %v; want %q", line, err, want)
			}
			if _, err := lines.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
			t.Errorf("after the last event: %q, %v", rest, err)
		}
		r.record(t, tap.Completed)
	})
}

// TestUploadStream: the provider has a piece of the body before the client
// sends the next one, and may answer meanwhile.
func TestUploadStream(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		got := make(chan string)
		r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
			if major == 1 {
				http.NewResponseController(w).EnableFullDuplex()
			}
			http.NewResponseController(w).Flush()
			buf := make([]byte, 100)
			for {
				n, err := req.Body.Read(buf)
				if n > 0 {
					got <- string(buf[:n])
				}
				if err != nil {
					break
				}
			}
			fmt.Fprint(w, "done")
		})
		pr, pw := io.Pipe()
		answered := make(chan []byte)
		c := r.client(t, major)
		go func() {
			req, _ := http.NewRequest("POST", "https://"+testHost+metered, pr)
			res, err := c.Do(req)
			if err != nil {
				t.Error(err)
				close(answered)
				return
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Error(err)
			}
			answered <- body
		}()
		for n := range 4 {
			piece := fmt.Sprintf("piece %d", n)
			if _, err := io.WriteString(pw, piece); err != nil {
				t.Fatal(err)
			}
			if p := <-got; p != piece {
				t.Fatalf("provider got %q, client sent %q", p, piece)
			}
		}
		pw.Close()
		if body := <-answered; string(body) != "done" {
			t.Errorf("answer %q", body)
		}
		r.record(t, tap.Completed)
	})
}

// TestEarlyAnswer: a provider that refuses a body while it is still coming.
func TestEarlyAnswer(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
			if major == 1 {
				http.NewResponseController(w).EnableFullDuplex()
			}
			io.ReadFull(req.Body, make([]byte, 1000))
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			fmt.Fprint(w, "too large")
		})
		pr, pw := io.Pipe()
		defer pw.Close()
		go pw.Write(make([]byte, 1000)) // and then no more, until the answer is there
		req := newRequest(t, "POST", metered, pr)
		req.ContentLength = 1 << 20
		res, err := r.client(t, major).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if res.StatusCode != 413 || string(body) != "too large" || err != nil {
			t.Errorf("%s: %q, %v", res.Status, body, err)
		}
		pw.CloseWithError(errors.New("given up"))
		r.record(t, tap.Completed)
	})
}

// TestClientAborts: the provider's request ends when the client's does.
func TestClientAborts(t *testing.T) {
	moments := map[string]func(w http.ResponseWriter, req *http.Request){
		"before the answer": func(http.ResponseWriter, *http.Request) {},
		"in the answer": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "data: 1\n\n")
			http.NewResponseController(w).Flush()
		},
	}
	for name, begin := range moments {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, major int) {
				arrived, gone := make(chan struct{}), make(chan struct{})
				r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
					io.Copy(io.Discard, req.Body)
					begin(w, req)
					close(arrived)
					<-req.Context().Done()
					close(gone)
				})
				ctx, cancel := context.WithCancel(t.Context())
				req := newRequest(t, "POST", metered, strings.NewReader("{}")).WithContext(ctx)
				go func() {
					<-arrived
					cancel()
				}()
				if res, err := r.client(t, major).Do(req); err == nil {
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				<-gone
				r.record(t, tap.ClientAborted)
			})
		})
	}
}

func TestClientAbortsUpload(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		arrived, broke := make(chan struct{}), make(chan error, 1)
		r := newRig(t, func(_ http.ResponseWriter, req *http.Request) {
			io.ReadFull(req.Body, make([]byte, 10))
			close(arrived)
			_, err := io.Copy(io.Discard, req.Body)
			broke <- err
		})
		pr, pw := io.Pipe()
		go func() {
			pw.Write(make([]byte, 10))
			<-arrived
			pw.CloseWithError(errors.New("changed my mind"))
		}()
		req := newRequest(t, "POST", metered, pr)
		req.ContentLength = 1000
		if res, err := r.client(t, major).Do(req); err == nil {
			res.Body.Close()
			t.Errorf("answer %s", res.Status)
		}
		if err := <-broke; err == nil {
			t.Error("the provider saw a whole body")
		}
		r.record(t, tap.ClientAborted)
	})
}

// TestReuse: exchanges one after the other share a connection to the provider,
// also those of different clients.
func TestReuse(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		r := newRig(t, func(w http.ResponseWriter, req *http.Request) { fmt.Fprint(w, req.RemoteAddr) })
		peers := map[string]bool{}
		for range 3 {
			c := r.client(t, major)
			for range 3 {
				_, peer := do(t, c, newRequest(t, "GET", "/v1/models", nil))
				peers[string(peer)] = true
			}
			c.CloseIdleConnections()
		}
		if len(peers) != 1 {
			t.Errorf("%d connections to the provider", len(peers))
		}
	})
}

func TestConcurrent(t *testing.T) {
	each(t, func(t *testing.T, major int) {
		r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
			for range 10 {
				io.WriteString(w, req.URL.RawQuery)
				http.NewResponseController(w).Flush()
			}
		})
		c := r.client(t, major)
		const n = 50
		errs := make(chan error, n)
		for k := range n {
			go func() {
				want := strings.Repeat(fmt.Sprint(k), 10)
				req, _ := http.NewRequest("POST", fmt.Sprintf("https://%s%s?%d", testHost, metered, k), strings.NewReader("{}"))
				res, err := c.Do(req)
				if err != nil {
					errs <- err
					return
				}
				defer res.Body.Close()
				if got, err := io.ReadAll(res.Body); err != nil || string(got) != want {
					errs <- fmt.Errorf("got %q, %v, want %q", got, err, want)
					return
				}
				errs <- nil
			}()
		}
		ids := map[string]bool{}
		for range n {
			if err := <-errs; err != nil {
				t.Error(err)
			}
			ids[r.record(t, tap.Completed).ID] = true
		}
		if len(ids) != n {
			t.Errorf("%d ids for %d exchanges", len(ids), n)
		}
	})
}
