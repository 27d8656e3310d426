package proxyedge

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// The headers of the handshake. None of them is ever sent to anybody but the
// daemon, or to a program that asks whether an edge is ours.
const (
	headerNonce  = "Halton-Nonce"
	headerClient = "Halton-Client"
	headerProof  = "Halton-Proof"
	headerReason = "Halton-Reason"
)

// What a proof is for. A proof of one purpose is worthless for another.
const (
	proofAdmit    = "admit"
	proofPlain    = "admit plain"
	proofRefuse   = "refuse"
	proofIdentify = "identify"
)

// admission is the purpose of an admission's proof. A daemon that does not
// know of plain tunnels, and takes everything for TLS, cannot admit one by
// mistake.
func admission(plain bool) string {
	if plain {
		return proofPlain
	}
	return proofAdmit
}

const nonceSize = 32

// newNonce returns a fresh challenge in hex. crypto/rand never fails.
func newNonce() string {
	b := make([]byte, nonceSize)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func validNonce(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == nonceSize
}

// statement is what a proof vouches for.
type statement struct {
	purpose   string
	nonce     string
	authority string // of a CONNECT
	reason    string // of a refusal
	server    string // address of the end that proves, see endpoint
}

// message is the statement as bytes: a domain, and each part with its length,
// so that no two statements are the same bytes.
func (s statement) message() []byte {
	msg := []byte("halton-meter/proxyedge/1")
	for _, part := range []string{s.purpose, s.nonce, s.authority, s.reason, s.server} {
		msg = binary.BigEndian.AppendUint32(msg, uint32(len(part)))
		msg = append(msg, part...)
	}
	return msg
}

func (s statement) prove(key []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write(s.message())
	return hex.EncodeToString(mac.Sum(nil))
}

func (s statement) proved(key []byte, proof string) bool {
	if len(key) == 0 {
		return false
	}
	return hmac.Equal([]byte(s.prove(key)), []byte(strings.ToLower(proof)))
}

// endpoint spells an address the same way at both ends of a connection. It is
// part of every proof: a stranger that passes a challenge on to the real
// daemon gets a proof for the daemon's address, not for its own.
func endpoint(a net.Addr) string {
	if ap, ok := addrPort(a); ok {
		return ap.String()
	}
	return a.String()
}

func addrPort(a net.Addr) (netip.AddrPort, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), true
}

// particulars are what the edge tells the daemon about a client, sealed so
// that only the daemon can read them.
type particulars struct {
	Client netip.AddrPort `json:"client"`
	User   string         `json:"user,omitempty"`
	Plain  bool           `json:"plain,omitempty"`
}

// seal encrypts p with a key that only this nonce has, bound to the statement.
func seal(key []byte, s statement, p particulars) (string, error) {
	aead, err := sealer(key, s.nonce)
	if err != nil {
		return "", err
	}
	plain, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("encode client: %w", err)
	}
	return hex.EncodeToString(aead.Seal(nil, nil, plain, s.message())), nil
}

func unseal(key []byte, s statement, text string) (p particulars, err error) {
	aead, err := sealer(key, s.nonce)
	if err != nil {
		return p, err
	}
	sealed, err := hex.DecodeString(text)
	if err != nil {
		return p, fmt.Errorf("decode client: %w", err)
	}
	plain, err := aead.Open(nil, nil, sealed, s.message())
	if err != nil {
		return p, errors.New("open client: not sealed with our key")
	}
	if err := json.Unmarshal(plain, &p); err != nil {
		return p, fmt.Errorf("decode client: %w", err)
	}
	return p, nil
}

func sealer(key []byte, nonce string) (cipher.AEAD, error) {
	if len(key) == 0 {
		return nil, errors.New("seal client: no key")
	}
	k, err := hkdf.Key(sha256.New, key, []byte(nonce), "halton-meter/proxyedge/1 seal", 32)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, fmt.Errorf("seal client: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
