package ca_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/haltonlabs/halton-meter/meter/ca"
)

func ExampleAuthority() {
	tmp, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(tmp)

	dir := filepath.Join(tmp, "ca")
	if err := ca.Create(dir, []string{"api.anthropic.com"}); err != nil {
		log.Fatal(err)
	}
	authority, err := ca.Load(dir)
	if err != nil {
		log.Fatal(err)
	}
	cert, err := authority.Leaf("api.anthropic.com")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(cert.Leaf.DNSNames)
	fmt.Println(authority.Permits("www.example.com"))
	// Output:
	// [api.anthropic.com]
	// false
}

func ExampleBundle() {
	tmp, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	dir := filepath.Join(tmp, "ca")
	if err := ca.Create(dir, []string{"api.anthropic.com"}); err != nil {
		log.Fatal(err)
	}

	// Extra would name what SSL_CERT_FILE named before we came.
	bundle := ca.Bundle{Dir: dir}
	for range 2 {
		changed, err := bundle.Write()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("changed:", changed)
	}
	// Output:
	// changed: true
	// changed: false
}

func ExampleExtend() {
	tmp, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(tmp)

	dir := filepath.Join(tmp, "ca")
	if err := ca.Create(dir, []string{"api.anthropic.com"}); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		added, err := ca.Extend(dir, []string{"api.anthropic.com", "llm.example.com"})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("added:", added)
	}
	authority, err := ca.Load(dir)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(authority.Certificates()), "roots, llm.example.com is permitted:", authority.Permits("llm.example.com"))
	// Output:
	// added: true
	// added: false
	// 2 roots, llm.example.com is permitted: true
}
