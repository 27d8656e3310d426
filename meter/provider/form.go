package provider

import (
	"bytes"
	"cmp"
	"io"
	"mime/multipart"
)

// maxParts bounds the parts of a form that are looked at. Clients send the
// fields in any order, and the file among them.
const maxParts = 64

// readForm reads the model, and whether a stream is asked for, out of a form:
// uploads of images and audio come as multipart/form-data (RFC 7578). The
// boundary is the body's first line (RFC 2046, section 5.1.1).
func (x *exchange) readForm(body []byte) {
	line, _, _ := bytes.Cut(body, []byte("\n"))
	boundary := bytes.TrimRight(line[len("--"):], " \t\r")
	if len(boundary) == 0 || len(boundary) > 70 {
		return
	}
	form := multipart.NewReader(bytes.NewReader(body), string(boundary))
	for range maxParts {
		part, err := form.NextRawPart()
		if err != nil {
			return
		}
		name := part.FormName()
		if name != "model" && name != "stream" || part.FileName() != "" {
			continue
		}
		value, err := io.ReadAll(io.LimitReader(part, maxText+1))
		if err != nil || !printable(string(value)) {
			continue // a field that was cut is not a name
		}
		if name == "stream" {
			x.stream = string(value) == "true"
			continue
		}
		x.requested = cmp.Or(string(value), x.requested)
	}
}
