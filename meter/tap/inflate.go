package tap

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// errExtension says that the two ends agreed on what is not read here.
var errExtension = errors.New("the WebSocket has an unknown extension")

// deflated is what the two ends agreed on as to compression (RFC 7692).
type deflated struct {
	on              bool
	client, service deflateParams
}

type deflateParams struct {
	takeover bool // a message may refer to those before it
	window   int  // in bytes
}

// negotiated reads the extensions in the header of the response.
func negotiated(h http.Header) (d deflated, err error) {
	for extension := range strings.SplitSeq(strings.Join(h.Values("Sec-Websocket-Extensions"), ","), ",") {
		name, params, _ := strings.Cut(extension, ";")
		name = strings.TrimSpace(name)
		switch {
		case name == "":
			continue
		case name != "permessage-deflate" || d.on:
			return deflated{}, errExtension
		}
		d = deflated{true, deflateParams{true, 32 << 10}, deflateParams{true, 32 << 10}}
		for param := range strings.SplitSeq(params, ";") {
			if err := d.param(param); err != nil {
				return deflated{}, err
			}
		}
	}
	return d, nil
}

func (d *deflated) param(param string) error {
	name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
	value = strings.Trim(strings.TrimSpace(value), `"`)
	switch strings.TrimSpace(name) {
	case "":
	case "client_no_context_takeover":
		d.client.takeover = false
	case "server_no_context_takeover":
		d.service.takeover = false
	case "client_max_window_bits":
		return d.client.bits(value)
	case "server_max_window_bits":
		return d.service.bits(value)
	default:
		return errExtension
	}
	return nil
}

func (p *deflateParams) bits(value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 8 || n > 15 {
		return errExtension
	}
	p.window = 1 << n
	return nil
}

// An inflater decompresses the messages of one direction.
type inflater struct {
	deflateParams
	dict  []byte // the last output, at most the window
	lease lease
}

// messageTail is what a sender takes away from the end of a compressed message
// (RFC 7692, section 7.2.1), and an empty last block, with which the
// decompressor can tell a whole message from a cut one.
const messageTail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

// message decompresses one message into out. If it does not fit, that is the
// error, and out has the begin of it.
func (d *inflater) message(packed []byte, out *buffer) error {
	if d.takeover {
		if err := d.lease.raise(int64(d.window)); err != nil {
			return err
		}
	}
	if !out.tap.take(unpackerMemory) {
		return errNoRoom
	}
	defer out.tap.give(unpackerMemory)
	z, ok := out.tap.unpackers.Get().(*unpacker)
	if !ok {
		z = &unpacker{flate: flate.NewReader(nil)}
	}
	defer out.tap.unpackers.Put(z)

	z.in.Reset(packed)
	z.tail.Reset([]byte(messageTail))
	for z.in.Len()+z.tail.Len() > 0 {
		// A block may be marked as the last one before the message ends (RFC
		// 7692, section 7.2.3.4); the one in messageTail is.
		if err := z.flate.(flate.Resetter).Reset(z, d.dict); err != nil {
			return err
		}
		if err := d.drain(z, out); err != nil {
			return err
		}
	}
	return nil
}

// drain copies z's output up to a last block.
func (d *inflater) drain(z *unpacker, out *buffer) error {
	for {
		n, err := z.flate.Read(z.buf[:])
		if d.takeover {
			d.remember(z.buf[:n])
		}
		if err := out.write(z.buf[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// remember keeps the end of the output, to which the next message may refer.
func (d *inflater) remember(p []byte) {
	if d.dict == nil {
		d.dict = make([]byte, 0, d.window)
	}
	if len(p) >= d.window {
		d.dict = append(d.dict[:0], p[len(p)-d.window:]...)
		return
	}
	if over := len(d.dict) + len(p) - d.window; over > 0 {
		d.dict = d.dict[:copy(d.dict, d.dict[over:])]
	}
	d.dict = append(d.dict, p...)
}

func (d *inflater) free() {
	d.dict = nil
	d.lease.free()
}

// unpackerMemory is what an unpacker has, beside a copy of the window.
const unpackerMemory = flateMemory + 4<<10

// An unpacker is a decompressor at work. It is needed for a moment in each
// message, and so there are as few as messages are unpacked at once.
type unpacker struct {
	flate    io.ReadCloser
	in, tail bytes.Reader
	buf      [4 << 10]byte
}

// Read implements io.Reader for the decompressor.
func (z *unpacker) Read(p []byte) (int, error) {
	if z.in.Len() > 0 {
		return z.in.Read(p)
	}
	return z.tail.Read(p)
}

// ReadByte makes the decompressor read no further than it needs.
func (z *unpacker) ReadByte() (byte, error) {
	if z.in.Len() > 0 {
		return z.in.ReadByte()
	}
	return z.tail.ReadByte()
}
