package capture

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
)

// The types of records that matter here (RFC 8446, section 5.1), and their
// header's length.
const (
	recordAlert       = 21
	recordHandshake   = 22 // the first byte of a ClientHello
	recordApplication = 23 // in TLS 1.3, all that is encrypted
	recordHeader      = 5
)

// clearAlert watches what a client sends in a handshake for an alert in clear.
//
// OpenSSL 3, and with it curl and Python, refuses a server's certificate before
// it has turned on its own encryption, as RFC 8446, appendix A.1, foresees.
// crypto/tls takes such a record for a forged one, so that nothing would be
// learned of the refusal.
type clearAlert struct {
	head [recordHeader]byte
	have int  // of head
	left int  // of the record's content
	over bool // from here on all is encrypted
}

// watch takes in what was read, and returns the client's alert as crypto/tls
// reports those that it understands.
func (c *clearAlert) watch(p []byte) error {
	for len(p) > 0 && !c.over {
		if c.left == 0 {
			n := copy(c.head[c.have:], p)
			c.have, p = c.have+n, p[n:]
			if c.have < recordHeader {
				return nil
			}
			c.have, c.left = 0, int(c.head[3])<<8|int(c.head[4])
			c.over = c.head[0] == recordApplication
			continue
		}
		n := min(len(p), c.left)
		c.left -= n
		// An encrypted alert is longer than a level and a description.
		if c.head[0] == recordAlert && c.head[3] == 0 && c.head[4] == 2 && c.left == 0 {
			return alerted(p[n-1])
		}
		p = p[n:]
	}
	return nil
}

// alerted is the error for a received alert.
func alerted(description byte) error {
	const closeNotify, userCanceled = 0, 90
	switch description {
	case closeNotify, userCanceled:
		return io.EOF
	}
	return &net.OpError{Op: "remote error", Err: tls.AlertError(description)}
}

// isAlert reports whether the client ended the handshake with an alert.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// saidUntrusted reports whether the client sent an alert with which clients
// refuse a certificate (RFC 8446, section 6.2). crypto/tls gives a received
// alert a type of its own, but the text of the exported one.
func saidUntrusted(err error) bool {
	const badCertificate, certificateUnknown, unknownCA = 42, 46, 48
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return false
	}
	return slices.ContainsFunc([]tls.AlertError{badCertificate, certificateUnknown, unknownCA},
		func(a tls.AlertError) bool { return op.Err.Error() == a.Error() })
}
