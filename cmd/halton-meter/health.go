package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/haltonlabs/halton-meter/internal/secret"
	"github.com/haltonlabs/halton-meter/meter/api"
)

// local never follows a proxy variable: everything that these commands ask is
// on this machine.
var local = &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}

// healthy is nil if the daemon's API on port answers /health with 200.
func healthy(ctx context.Context, port int) error {
	_, err := health(ctx, port)
	return err
}

// health is the daemon's own word on itself, and why it is not healthy.
func health(ctx context.Context, port int) (api.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	resp, err := ask(ctx, http.MethodGet, port, "/health", "")
	if err != nil {
		return api.Health{}, err
	}
	defer resp.Body.Close()
	var h api.Health
	err = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&h)
	switch {
	case resp.StatusCode == http.StatusOK:
		return h, nil
	case err != nil || h.Reason == "":
		return h, fmt.Errorf("/health answers %s", resp.Status)
	}
	return h, errors.New(h.Reason)
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

// tail is the end of a file, nothing if it cannot be read.
func tail(path string, size int64) []byte {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // it may be a pipe
	if err != nil {
		return nil
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > size {
		if _, err := f.Seek(-size, io.SeekEnd); err != nil {
			return nil
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, size))
	if err != nil {
		return nil
	}
	return b
}
