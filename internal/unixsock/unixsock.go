// Package unixsock listens on and dials Unix sockets whose path may be longer
// than the 104 bytes (macOS; Linux: 108) that sun_path holds, as a socket
// below a temporary HOME easily is.
package unixsock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// maxPath is the smallest sun_path of the supported systems, less its NUL.
const maxPath = 103

// Listen listens on the Unix socket at path, mode 0600. A socket file that is
// left of a dead process is replaced; the caller makes sure (with a lock)
// that no living one is.
func Listen(path string) (net.Listener, error) {
	short, err := shorten(path)
	if err != nil {
		return nil, err
	}
	if err := removeSocket(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	ln, err := net.Listen("unix", short)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// Close unlinks by the path that was bound, which must keep working
	// when the short name is gone; the owner of path removes the file.
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// removeSocket removes a socket or a link, and nothing that holds data: a
// wrong path must not cost the user a file.
func removeSocket(path string) error {
	st, err := os.Lstat(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode()&(os.ModeSocket|os.ModeSymlink) == 0 {
		return errors.New("the file there is not a socket")
	}
	return os.Remove(path)
}

// Dial connects to the Unix socket at path.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	short, err := shorten(path)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", short)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return conn, nil
}

// shorten returns a name for path that fits sun_path: path itself, or the
// same file through a symbolic link to its directory. The link lies in a
// directory of the user's own (0700), so nobody else can point it elsewhere.
func shorten(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil || len(path) <= maxPath {
		return path, err
	}
	dir := filepath.Join("/tmp", fmt.Sprintf("halton-meter-%d", os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return "", err
	}
	if err := private(dir); err != nil {
		return "", err
	}
	target := filepath.Dir(path)
	sum := sha256.Sum256([]byte(target))
	link := filepath.Join(dir, hex.EncodeToString(sum[:8]))
	if err := os.Symlink(target, link); err != nil && !os.IsExist(err) {
		return "", err
	}
	return filepath.Join(link, filepath.Base(path)), nil
}
