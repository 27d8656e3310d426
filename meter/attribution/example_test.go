package attribution_test

import (
	"errors"
	"fmt"

	"github.com/haltonlabs/halton-meter/meter/attribution"
)

func ExampleResolver() {
	r := attribution.Resolver{Default: "misc"}
	fmt.Println(r.Resolve(attribution.Facts{ProxyUser: "Billing"}))
	fmt.Println(r.Resolve(attribution.Facts{ProxyUser: "two words"}))
	// Output:
	// billing proxy_url
	// misc smart_default
}

func ExampleFacts() {
	facts := attribution.Facts{EnvProject: "nightly", Dir: "/"}
	fmt.Println(attribution.Resolver{}.Resolve(facts))
	// Output: nightly env
}

func ExampleSlug() {
	slug, _ := attribution.Slug("Acme/API")
	fmt.Println(slug)
	// Output: acme/api
}

func ExampleSlugError() {
	_, err := attribution.Slug("two words")
	if slugErr, ok := errors.AsType[*attribution.SlugError](err); ok {
		fmt.Println(slugErr.Problem)
	}
	fmt.Println(err)
	// Output:
	// has the character ' '
	// project "two words" has the character ' ': use 1 to 100 ASCII letters, digits, and - _ : /, with / only between other characters
}

func ExampleRC() {
	rc, err := attribution.ParseRC([]byte("# mine\nproject = \"billing\"\n"))
	fmt.Println(rc.Project, err)
	// Output: billing <nil>
}
