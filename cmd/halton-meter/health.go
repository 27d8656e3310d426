package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/haltonlabs/halton-meter/internal/secret"
)

// local never follows a proxy variable: everything that these commands ask is
// on this machine.
var local = &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}

// healthy is nil if the daemon's API on port answers /health with 200.
func healthy(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	resp, err := ask(ctx, http.MethodGet, port, "/health", "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var body struct{ Reason string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&body); err != nil || body.Reason == "" {
		return fmt.Errorf("/health answers %s", resp.Status)
	}
	return errors.New(body.Reason)
}

// flush asks a living daemon to store what has ended, so that a report right
// after a call shows it. Without a daemon there is nothing to wait for.
func (a *app) flush(ctx context.Context) error {
	rec, live := a.ports()
	if !live {
		return nil
	}
	token, err := secret.Read(a.paths.Token())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	resp, err := ask(ctx, http.MethodPost, rec.Ports["api"], "/v1/flush", token.String())
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("the daemon could not store its latest rows: %s", resp.Status)
	}
	return nil
}

func ask(ctx context.Context, method string, port int, path, token string) (*http.Response, error) {
	url := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) + path
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
	}
	return local.Do(req)
}

// lastLine is the last line of a log, cut to a readable length.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const tail = 4 << 10
	if st, err := f.Stat(); err == nil && st.Size() > tail {
		if _, err := f.Seek(-tail, io.SeekEnd); err != nil {
			return ""
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, tail))
	if err != nil {
		return ""
	}
	b = bytes.TrimSpace(b)
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		b = b[i+1:]
	}
	if len(b) > 400 {
		b = append(b[:400:400], "…"...)
	}
	return string(b)
}
