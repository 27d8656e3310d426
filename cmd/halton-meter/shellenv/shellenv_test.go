package shellenv_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/shellenv"
)

func TestApply(t *testing.T) {
	s := shellenv.Settings{
		Edge: "127.0.0.1:8081", Project: "billing", Node: true, Bundle: "/s/bundle.pem",
		BundleVariables: []string{"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"},
	}
	tests := map[string]struct{ env, want []string }{
		"bare": {
			env: []string{"HOME=/h"},
			want: []string{
				"HOME=/h",
				"HTTPS_PROXY=http://billing:x@127.0.0.1:8081",
				"NODE_EXTRA_CA_CERTS=/s/bundle.pem",
				"NODE_USE_ENV_PROXY=1",
				"NO_PROXY=localhost,127.0.0.1,::1",
				"SSL_CERT_FILE=/s/bundle.pem",
				"https_proxy=http://billing:x@127.0.0.1:8081",
				"no_proxy=localhost,127.0.0.1,::1",
			},
		},
		"old values go, exclusions stay, plain HTTP is left alone": {
			env: []string{
				"https_proxy=http://old:1", "HTTPS_PROXY=http://old:1", "HTTP_PROXY=http://corp:3128",
				"NO_PROXY=unused.example", "no_proxy=internal.example, ,127.0.0.1", "SSL_CERT_FILE=/corp.pem",
			},
			want: []string{
				"HTTP_PROXY=http://corp:3128",
				"HTTPS_PROXY=http://billing:x@127.0.0.1:8081",
				"NODE_EXTRA_CA_CERTS=/s/bundle.pem",
				"NO_PROXY=internal.example,127.0.0.1,localhost,::1",
				"SSL_CERT_FILE=/s/bundle.pem",
				"https_proxy=http://billing:x@127.0.0.1:8081",
				"no_proxy=internal.example,127.0.0.1,localhost,::1",
			},
		},
		"what the user tells Node stays": {
			env: []string{"NODE_USE_ENV_PROXY=0"},
			want: []string{
				"NODE_USE_ENV_PROXY=0",
				"HTTPS_PROXY=http://billing:x@127.0.0.1:8081",
				"NODE_EXTRA_CA_CERTS=/s/bundle.pem",
				"NO_PROXY=localhost,127.0.0.1,::1",
				"SSL_CERT_FILE=/s/bundle.pem",
				"https_proxy=http://billing:x@127.0.0.1:8081",
				"no_proxy=localhost,127.0.0.1,::1",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(tt.env)
			if diff := cmp.Diff(tt.want, s.Apply(tt.env)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, tt.env); diff != "" {
				t.Errorf("the environment that was given changed: %s", diff)
			}
		})
	}
}

func TestProxyURLWithoutProject(t *testing.T) {
	if got := (shellenv.Settings{Edge: "127.0.0.1:1"}).ProxyURL(); got != "http://127.0.0.1:1" {
		t.Errorf("got %s", got)
	}
}
