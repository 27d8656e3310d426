package capture

import (
	"bytes"
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// records is a body that comes in pieces, each of which one Read may get.
type records struct {
	left  [][]byte
	ended bool // with the last piece, not after it
}

func (b *records) Read(p []byte) (int, error) {
	if len(b.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.left[0])
	if b.left[0] = b.left[0][n:]; len(b.left[0]) == 0 {
		b.left = b.left[1:]
	}
	if b.ended && len(b.left) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (b *records) Close() error { return nil }

// TestElastic: whatever comes is passed on whole and in order, what is large
// in few writes, and the large buffer is not held while nothing comes.
func TestElastic(t *testing.T) {
	for _, test := range []struct {
		name   string
		sizes  []int
		writes []int // of which the client sees the answer made
	}{
		{"events", []int{200, 300, 200}, []int{200, 300, 200}},
		{"one small buffer", []int{smallBuffer}, []int{smallBuffer}},
		{"one more byte", []int{smallBuffer + 1, 200}, []int{smallBuffer, 1, 200}},
		{"records", []int{largeBuffer, largeBuffer, largeBuffer, 200, 300}, []int{smallBuffer, largeBuffer - smallBuffer, largeBuffer, largeBuffer, 200, 300}},
		{"ends in the middle", []int{largeBuffer, largeBuffer}, []int{smallBuffer, largeBuffer - smallBuffer, largeBuffer}},
		{"nothing", nil, nil},
	} {
		for _, ended := range []bool{false, true} {
			var sent [][]byte
			for i, size := range test.sizes {
				sent = append(sent, bytes.Repeat([]byte{'a' + byte(i)}, size))
			}
			whole := bytes.Join(sent, nil)
			client := &writes{ResponseRecorder: httptest.NewRecorder()}
			var large sync.Pool
			body := &elastic{ReadCloser: &records{sent, ended}, to: &answer{ResponseWriter: client}, large: &large}
			var small buffers
			p := small.Get()
			for {
				n, err := body.Read(p)
				if n > 0 {
					body.to.Write(p[:n])
				}
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatalf("%s: Read: %v", test.name, err)
				}
			}
			if !bytes.Equal(client.Body.Bytes(), whole) {
				t.Errorf("%s: the client got %d bytes, other than the %d sent", test.name, client.Body.Len(), len(whole))
			}
			if !slices.Equal(client.sizes, test.writes) {
				t.Errorf("%s: written in pieces of %v, want %v", test.name, client.sizes, test.writes)
			}
		}
	}
}

// TestPromptAnswer: what has come of a body of known length is not held back
// for the rest of it, and a short one leaves in one write.
func TestPromptAnswer(t *testing.T) {
	const length = 3000
	tests := []struct {
		name  string
		pause []time.Duration // before the pieces, and the end
		want  string          // what the client has seen, and when
	}{
		{"at once", []time.Duration{0, 0, 0, 0}, "0s 3000"},
		{"in one piece", []time.Duration{time.Second, 0}, "1ms head, 1s 3000"},
		{"the end comes later", []time.Duration{0, time.Second}, "1ms 3000"},
		{"pieces", []time.Duration{0, time.Second, time.Second, 0}, "1ms 1000, 1.001s 2000, 2s 3000"},
		{"everything late", []time.Duration{time.Second, time.Second, time.Second, time.Second}, "1ms head, 1.001s 1000, 2.001s 2000, 3.001s 3000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := &flushes{ResponseRecorder: httptest.NewRecorder(), began: time.Now()}
				pieces := len(tt.pause) - 1
				body := &elastic{
					ReadCloser: &late{tt.pause, length / pieces},
					to:         &answer{ResponseWriter: client}, known: true,
				}
				var small buffers
				p := small.Get()
				for {
					n, err := body.Read(p)
					body.to.Write(p[:n])
					if err != nil {
						break
					}
				}
				client.FlushError() // as net/http does at a handler's end
				if got := strings.Join(client.seen, ", "); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// late is a body whose pieces come after pauses, as its end does.
type late struct {
	pause []time.Duration
	size  int
}

func (b *late) Read(p []byte) (int, error) {
	time.Sleep(b.pause[0])
	if b.pause = b.pause[1:]; len(b.pause) == 0 {
		return 0, io.EOF
	}
	return b.size, nil
}

func (b *late) Close() error { return nil }

// flushes records what of an answer a client sees when.
type flushes struct {
	*httptest.ResponseRecorder
	began time.Time
	last  int
	seen  []string
}

func (f *flushes) FlushError() error {
	n := f.Body.Len()
	switch {
	case n == 0:
		f.seen = append(f.seen, fmt.Sprintf("%v head", time.Since(f.began)))
	case n > f.last:
		f.seen = append(f.seen, fmt.Sprintf("%v %d", time.Since(f.began), n))
	}
	f.last = n
	return nil
}

// writes records how large each was.
type writes struct {
	*httptest.ResponseRecorder
	sizes []int
}

func (w *writes) Write(p []byte) (int, error) {
	w.sizes = append(w.sizes, len(p))
	return w.ResponseRecorder.Write(p)
}
