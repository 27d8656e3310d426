// Package api is the meter's HTTP API on loopback.
//
// A Server has these routes:
//
//	GET  /health    200 {"status":"ok","version":"0.1.0"} while exchanges are
//	                metered and stored, else 503 {"status":"unavailable",
//	                "version":…,"reason":…}; with "warnings":[…] if something
//	                is amiss all the same
//	POST /v1/flush  204 once every exchange that has ended is stored; needs
//	                the token and Content-Type: application/json
//
// The server is for this machine only. Serve it on a loopback listener; it
// answers 403 to every request whose Host names anything else, because a web
// page can point its own name at 127.0.0.1 (DNS rebinding), and it refuses
// what a browser sends across origins.
package api

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"
)

// flushTimeout bounds how long a flush may keep its caller waiting.
const flushTimeout = 5 * time.Second

// Server is the API's configuration. Health is required.
type Server struct {
	// Version is what /health reports.
	Version string
	// Health is nil while exchanges are metered and stored, else the reason.
	Health func() error
	// Warnings say what is amiss while Health is nil, such as rows that are
	// only in memory. Nil: nothing ever is.
	Warnings func() []string
	// Flush waits until every exchange that has ended is stored. Nil: there
	// is nothing to wait for.
	Flush func(context.Context) error
	// Token is the secret that a writing request bears in the header
	// "Authorization: Bearer …". Empty: every writing request is refused.
	Token string
	// Logger takes what goes wrong. Nil: nothing is logged.
	Logger *slog.Logger
}

// Handler is the API with its checks.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("POST /v1/flush", s.writing(s.flush))
	return loopbackOnly(http.NewCrossOriginProtection().Handler(mux))
}

// Serve serves the API on ln until ctx ends.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.logger().Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(ln); ctx.Err() == nil {
		return err
	}
	return nil
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	h := Health{Status: "ok", Version: s.Version}
	if s.Warnings != nil {
		h.Warnings = s.Warnings()
	}
	code := http.StatusOK
	if err := s.Health(); err != nil {
		h.Status, h.Reason, code = "unavailable", err.Error(), http.StatusServiceUnavailable
	}
	reply(w, code, h)
}

// Health is the body of the answer to GET /health.
type Health struct {
	// Status is "ok" if exchanges are metered and stored.
	Status  string `json:"status"`
	Version string `json:"version"`
	// Reason says why Status is not "ok".
	Reason string `json:"reason,omitempty"`
	// Warnings say what is amiss besides.
	Warnings []string `json:"warnings,omitempty"`
}

func (s *Server) flush(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), flushTimeout)
	defer cancel()
	if s.Flush != nil {
		if err := s.Flush(ctx); err != nil {
			reply(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
			return
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// writing lets pass what bears the token and is JSON, which no form of a web
// page can send without asking first.
func (s *Server) writing(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || s.Token == "" || subtle.ConstantTimeCompare([]byte(token), []byte(s.Token)) != 1 {
			reply(w, http.StatusUnauthorized, map[string]string{"error": "the request needs the token of the file api-token"})
			return
		}
		if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
			reply(w, http.StatusUnsupportedMediaType, map[string]string{"error": "the request needs Content-Type: application/json"})
			return
		}
		next(w, r)
	}
}

// loopbackOnly refuses every Host but this machine's own names at the port
// that the request came in on.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, port, err := net.SplitHostPort(r.Host)
		if err != nil || !localName(host) || port != localPort(r) {
			reply(w, http.StatusForbidden, map[string]string{"error": "this API answers to 127.0.0.1 and localhost only"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func localName(host string) bool {
	return host == "127.0.0.1" || host == "::1" || strings.EqualFold(host, "localhost")
}

func localPort(r *http.Request) string {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return ""
	}
	_, port, _ := net.SplitHostPort(addr.String())
	return port
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The client may be gone; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(body)
}

func (s *Server) logger() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}
