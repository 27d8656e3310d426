package capture

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"
)

// maxHead is the bound of a request's head; net/http answers a longer one by
// itself, so it is above what any provider accepts.
const maxHead = 1 << 20

// service is an http.Server and the queue from which it takes connections.
type service struct {
	*http.Server
	queue *queue
}

func (i *Interceptor) newService() *service {
	s := &service{i.newServer(), newQueue()}
	i.drain.work(func() { s.Serve(s.queue) }) // until Shutdown closes the queue
	return s
}

// newServer serves the clients of all tunnels. It has no time limits: a client
// may think between requests, and a model within a response, for as long as
// it likes.
func (i *Interceptor) newServer() *http.Server {
	return &http.Server{
		Handler:                      http.HandlerFunc(i.serve),
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is the provider's to answer
		MaxHeaderBytes:               maxHead,
		ErrorLog:                     log.New(io.Discard, "", 0), // quotes what clients send
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			t, plain := c.(*tunnel)
			if !plain {
				t = c.(*tls.Conn).NetConn().(*tunnel)
			}
			return context.WithValue(ctx, tunnelKey{}, t)
		},
	}
}

type tunnelKey struct{}

// newProxy forwards what serve gives it. Each request's context has its
// exchange.
func (i *Interceptor) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      i.upstream,
		FlushInterval:  0, // streams are flushed all the same, for the rest see elastic
		BufferPool:     &i.small,
		ModifyResponse: func(res *http.Response) error { return exchangeOf(res.Request).answered(res) },
		ErrorHandler: func(_ http.ResponseWriter, req *http.Request, err error) {
			exchangeOf(req).failed(err)
			panic(http.ErrAbortHandler)
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

// rewrite addresses the request to the tunnel's host, and puts back what
// ReverseProxy takes out of it for the sake of servers that believe what
// proxies tell them.
func rewrite(r *httputil.ProxyRequest) {
	x := exchangeOf(r.In)
	r.Out.URL.Scheme = "https"
	r.Out.URL.Host = net.JoinHostPort(x.tunnel.chain.Host, strconv.Itoa(x.tunnel.chain.Port))
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	keepPath(r)

	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Keep-Alive"} {
		if values, ok := r.In.Header[name]; ok {
			r.Out.Header[name] = values
		}
	}
	// It says what HTTP/1.1 means anyway, but clients send it, and a front end
	// may look at the set of fields. HTTP/2 drops it.
	if v := r.In.Header["Connection"]; len(v) == 1 && strings.EqualFold(v[0], "keep-alive") {
		r.Out.Header["Connection"] = v
	}
	for name := range r.Out.Header {
		if strings.HasPrefix(name, "Halton-") {
			delete(r.Out.Header, name)
		}
	}
	// The server fills in this very map at the end of the body, where the
	// transport then looks for trailers. ReverseProxy gave it a copy.
	r.Out.Trailer = r.In.Trailer

	body := r.In.Body
	if r.Out.Body == nil {
		body = nil
		if r.In.Header.Get("Content-Length") == "0" {
			// Else the transport says so with POST, PUT and PATCH only.
			r.Out.Body, r.Out.TransferEncoding = http.NoBody, []string{"identity"}
		}
	}
	body = x.askForUsage(r, body)
	if x.flow != nil {
		body = x.flow.Request(r.Out.Header, body)
	}
	if body != nil {
		x.upload = &upload{src: body, interrupt: r.In.ProtoMajor == 2, broke: x.clientBroke}
		x.upload.attach(r.Out)
	}
}

// keepPath makes the transport send the path as it was spelt, where net/url
// would spell it another way: it escapes what RFC 3986 wants escaped.
func keepPath(r *httputil.ProxyRequest) {
	path, _, _ := strings.Cut(r.In.RequestURI, "?")
	if r.Out.URL.EscapedPath() == path || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return // an opaque URL that begins with two slashes means a host
	}
	r.Out.URL.Opaque = path
}

// serve forwards one exchange.
func (i *Interceptor) serve(w http.ResponseWriter, r *http.Request) {
	t := r.Context().Value(tunnelKey{}).(*tunnel)
	i.drain.begin()
	defer i.drain.end()
	if t.requests.Add(1) == 1 && !t.chain.Plain && i.Trusted != nil {
		i.Trusted(t.chain)
	}
	if i.wake.woke(time.Now()) {
		i.Logger.Info("capture.upstream.reset", "reason", "the machine slept")
		i.upstream.closeIdle()
	}
	if r.ProtoMajor == 1 {
		// Else net/http reads what is left of a body before it lets an early
		// answer, such as a 413, out. It never fails for HTTP/1.
		http.NewResponseController(w).EnableFullDuplex()
	}

	x := i.open(t, r)
	defer x.close()
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	x.answer = &answer{ResponseWriter: w, x: x}
	i.proxy.ServeHTTP(x.answer, r)
	x.done = true
}
