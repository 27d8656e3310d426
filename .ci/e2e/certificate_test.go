package e2e

import (
	"crypto/tls"
	"testing"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"

	"github.com/haltonlabs/halton-meter/meter/ca"
)

// notOurs are rules of the CA/Browser Forum that our certificates break, each
// with the reason why it is none for a CA that one machine trusts.
var notOurs = map[string]string{
	"e_ca_country_name_missing":               "nobody has to be found and held to account",
	"e_sub_cert_aia_missing":                  "there is no OCSP responder, and the root needs no download",
	"e_sub_cert_cert_policy_empty":            "there is no policy statement that one could refer to",
	"e_sub_cert_certificate_policies_missing": "the same",
}

// A linter finds nothing against RFC 5280 in the certificates that we make, and
// against the rules for public CAs only what cannot be otherwise.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	if err := ca.Create(dir, []string{"api.anthropic.com", "openai.azure.com"}); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Extend(dir, []string{"llm.example.org"}); err != nil {
		t.Fatal(err)
	}
	authority, err := ca.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for i, root := range authority.Certificates() {
		all["root "+string(rune('1'+i))] = root.Raw
	}
	for _, host := range []string{"api.anthropic.com", "eu.openai.azure.com", "llm.example.org"} {
		var leaf *tls.Certificate
		if leaf, err = authority.Leaf(host); err != nil {
			t.Fatal(err)
		}
		all[host] = leaf.Certificate[0]
	}
	met := map[string]bool{}
	for name, der := range all {
		cert, err := zx509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		for rule, result := range zlint.LintCertificate(cert).Results {
			l := lint.GlobalRegistry().ByName(rule)
			_, known := notOurs[rule]
			switch {
			case result.Status < lint.Error:
			case known && l.Source == lint.CABFBaselineRequirements:
				met[rule] = true
			default:
				t.Errorf("%s: %s: %s of %s, %s %s", name, rule, result.Status, l.Source, l.Citation, result.Details)
			}
		}
	}
	for rule := range notOurs {
		if !met[rule] {
			t.Errorf("%s is kept, and need not be listed", rule)
		}
	}
}
