package mactools

import (
	"context"
	"crypto/sha1" // as security names certificates
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rootFile is a PEM file, and the SHA-1 by which security knows it. Nothing
// here looks into the certificate, so its bytes are any.
func rootFile(t *testing.T) (path, hash string) {
	t.Helper()
	der := []byte("a certificate")
	path = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, fmt.Sprintf("%X", sha1.Sum(der))
}

func TestTrustIsAskedForOnceAndTakenBack(t *testing.T) {
	t.Parallel()
	root, hash := rootFile(t)
	chain := LoginKeychain("/Users/ann")
	var calls []string
	held, trusted := false, false
	tools := Tools{Run: func(_ context.Context, path string, args ...string) (Output, error) {
		calls = append(calls, filepath.Base(path)+" "+strings.Join(args, " "))
		switch args[0] {
		case "find-certificate":
			if held {
				return Output{Stdout: "SHA-256 hash: 00\nSHA-1 hash: " + hash + "\nkeychain: \"" + chain + "\"\n"}, nil
			}
			// An empty keychain.
			return Output{Stderr: "security: SecKeychainSearchCopyNext: The specified item could not be found in the keychain.\n", Code: 44}, nil
		case "add-trusted-cert":
			held, trusted = true, true
		case "delete-certificate":
			held, trusted = false, false
		case "verify-cert":
			if !trusted {
				return Output{Stderr: "Cert Verify Result: CSSMERR_TP_NOT_TRUSTED\n", Code: 1}, nil
			}
			return Output{Stdout: "...certificate verification successful.\n"}, nil
		}
		return Output{}, nil
	}}
	ctx := t.Context()
	is := func(want bool) {
		t.Helper()
		if got, err := tools.Trusted(ctx, root, chain); err != nil || got != want {
			t.Fatalf("trusted %v, %v; want %v", got, err, want)
		}
	}
	is(false)
	if err := tools.Untrust(ctx, root, chain); err != nil {
		t.Fatalf("nothing to remove: %v", err)
	}
	if err := tools.Trust(ctx, root, chain); err != nil {
		t.Fatal(err)
	}
	is(true)
	if err := tools.Untrust(ctx, root, chain); err != nil {
		t.Fatal(err)
	}
	is(false)
	find := "security find-certificate -a -Z " + chain
	want := []string{
		find, find,
		"security add-trusted-cert -r trustRoot -p ssl -p basic -k " + chain + " " + root,
		find, "security verify-cert -c " + root + " -p ssl -l -L",
		find, "security delete-certificate -Z " + hash + " -t " + chain,
		find,
	}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Fatal(diff)
	}
}

func TestRefusedTrustSaysWhy(t *testing.T) {
	t.Parallel()
	root, _ := rootFile(t)
	for text, want := range map[string]error{
		"SecTrustSettingsSetTrustSettings: The authorization was denied since no user interaction was possible.\n": ErrNoInteraction,
		"SecTrustSettingsSetTrustSettings: The authorization was canceled by the user.\n":                          ErrDeclined,
	} {
		tools := Tools{Run: func(context.Context, string, ...string) (Output, error) {
			return Output{Stderr: text, Code: 1}, nil
		}}
		err := tools.Trust(t.Context(), root, "k")
		if !errors.Is(err, want) || !strings.Contains(err.Error(), strings.TrimSpace(text)) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := (Tools{}).Untrust(t.Context(), filepath.Join(t.TempDir(), "none"), "k"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such root: %v", err)
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (Tools{}).Untrust(t.Context(), empty, "k"); err == nil {
		t.Error("an empty file passes for a certificate")
	}
}
