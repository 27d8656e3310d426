package capture

import (
	"bytes"
	"io"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
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

// writes records how large each was.
type writes struct {
	*httptest.ResponseRecorder
	sizes []int
}

func (w *writes) Write(p []byte) (int, error) {
	w.sizes = append(w.sizes, len(p))
	return w.ResponseRecorder.Write(p)
}
